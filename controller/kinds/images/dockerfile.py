"""A Dockerfile as data: stages, their instructions, and the variables in them. Pure text, no I/O.

The subset is what an image of files needs: FROM, ARG, ENV, WORKDIR, COPY, ADD of local files, ENTRYPOINT, CMD, USER, EXPOSE, LABEL.
RUN is kept as text (it counts for the image's content tag and a Docker engine would execute it); the rest is read and left out.

Source: docs.docker.com/reference/dockerfile.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_SKIPPED = frozenset({"HEALTHCHECK", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "VOLUME"})
_INSTRUCTIONS = _SKIPPED | {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "USER", "WORKDIR"}
_HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z_][A-Za-z0-9_]*)\1")
_VARIABLE = re.compile(
    r"\\\$|\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<op>:?[-+])(?P<word>[^{}]*))?\})"
)
PREDEFINED_ARGS = frozenset(
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (upper, upper.lower())
)


class DockerfileError(ValueError):
    """The file cannot be used. The message starts with the line number."""


@dataclass(frozen=True)
class Instruction:
    """One instruction. `flags` are the leading `--name=value`; `line` counts from 1."""

    name: str
    text: str
    flags: Mapping[str, str]
    line: int

    @property
    def json_form(self) -> list[str] | None:
        """The words of the exec form `["a", "b"]`, or None for the shell form."""
        if not self.text.startswith("["):
            return None
        try:
            words = json.loads(self.text)
        except ValueError:
            return None
        return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None

    @property
    def words(self) -> list[str]:
        return self.json_form if self.json_form is not None else shlex.split(self.text)

    @property
    def command(self) -> tuple[str, ...]:
        """CMD or ENTRYPOINT as the words that are executed."""
        form = self.json_form
        return tuple(form) if form is not None else ("/bin/sh", "-c", self.text)


@dataclass(frozen=True)
class Stage:
    """One build stage: its base (an image, or an earlier stage's name) and the instructions after FROM."""

    index: int
    base: str
    name: str | None
    line: int
    instructions: tuple[Instruction, ...]

    def is_called(self, wanted: str) -> bool:
        return wanted == str(self.index) or (self.name is not None and self.name.lower() == wanted.lower())


@dataclass(frozen=True)
class Dockerfile:
    """All stages, and the ARG defaults that stand before the first FROM."""

    stages: tuple[Stage, ...]
    global_args: Mapping[str, str] = field(default_factory=dict)

    def target(self, name: str | None) -> Stage:
        """The stage to build: the named one, or the last.

        Raises:
            DockerfileError: there is no such stage; the message lists those that there are.
        """
        if name is None:
            return self.stages[-1]
        for stage in self.stages:
            if stage.is_called(name):
                return stage
        known = ", ".join(stage.name for stage in self.stages if stage.name) or "none has a name"
        raise DockerfileError(f"line 1: there is no stage called {name!r}; stages: {known}")

    def find(self, name: str, before: int) -> Stage | None:
        """An earlier stage by name or number, None when `name` is an image."""
        return next((stage for stage in self.stages[:before] if stage.is_called(name)), None)


def parse(text: str, build_args: Mapping[str, str] | None = None) -> Dockerfile:
    """Read a Dockerfile. `build_args` replace the defaults of ARGs before the first FROM, which FROM lines may use.

    Raises:
        DockerfileError: an unknown instruction, a malformed line, or no FROM at all.
    """
    given = build_args or {}
    global_args: dict[str, str] = {}
    stages: list[Stage] = []
    current: list[Instruction] = []
    head: tuple[str, str | None, int] | None = None

    def close() -> None:
        if head is not None:
            stages.append(Stage(len(stages), head[0], head[1], head[2], tuple(current)))

    for item in _instructions(text):
        if item.name == "FROM":
            close()
            head, current = _from(item, global_args), []
        elif head is not None:
            current.append(item)
        elif item.name == "ARG":
            for name, default in assignments(item, global_args):
                global_args[name] = given.get(name, default or "")
        else:
            raise DockerfileError(f"line {item.line}: {item.name} stands before the first FROM")
    close()
    if not stages:
        raise DockerfileError("line 1: no FROM: the file builds nothing")
    return Dockerfile(tuple(stages), global_args)


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$a`, `${a}`, `${a:-default}`, `${a:+other}` as Docker does; an unset variable is empty, `\\$` stays a dollar sign."""

    def one(match: re.Match[str]) -> str:
        name = match["plain"] or match["name"]
        if name is None:
            return "$"
        value, operator = variables.get(name), match["op"]
        if operator is None:
            return value or ""
        is_set = bool(value) if operator.startswith(":") else value is not None
        word = substitute(match["word"] or "", variables)
        return (value or "" if is_set else word) if operator.endswith("-") else (word if is_set else "")

    return _VARIABLE.sub(one, text)


def assignments(item: Instruction, variables: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """The `name=value` pairs of ENV, ARG or LABEL with variables replaced; a bare ARG name gives None.

    Raises:
        DockerfileError: a part that is no pair.
    """
    first, _, rest = item.text.partition(" ")
    if item.name == "ENV" and "=" not in first:  # the old form: ENV name the rest of the line
        if not rest.strip():
            raise DockerfileError(f"line {item.line}: ENV {first} has no value; write ENV {first}=…")
        yield first, substitute(rest.strip(), variables)
        return
    for word in _split(item):
        name, equals, value = word.partition("=")
        if not equals and item.name != "ARG":
            raise DockerfileError(f"line {item.line}: {item.name} {word}: expected name=value")
        yield name, substitute(value, variables) if equals else None


def _split(item: Instruction) -> Sequence[str]:
    try:
        return shlex.split(item.text)
    except ValueError as error:
        raise DockerfileError(f"line {item.line}: {item.name}: {error}") from None


def _from(item: Instruction, global_args: Mapping[str, str]) -> tuple[str, str | None, int]:
    words = substitute(item.text, global_args).split()
    if len(words) == 3 and words[1].upper() == "AS":
        return words[0], words[2], item.line
    if len(words) == 1:
        return words[0], None, item.line
    raise DockerfileError(f"line {item.line}: FROM {item.text}: expected FROM image [AS name]")


def _instructions(text: str) -> Iterator[Instruction]:
    """Join continued lines, leave out comments, and take here-documents as part of their instruction."""
    lines = text.splitlines()
    escape = _escape(lines)
    position = 0
    while position < len(lines):
        start, logical = position, ""
        while position < len(lines):
            line = lines[position]
            position += 1
            if not line.strip() or line.lstrip().startswith("#"):
                if not logical:
                    break
                continue  # comments and empty lines inside a continued instruction do not end it
            stripped = line.rstrip()
            logical += stripped.removesuffix(escape).strip() + " " if stripped.endswith(escape) else stripped.strip()
            if not stripped.endswith(escape):
                break
        if not logical.strip():
            continue
        item = _instruction(logical.strip(), start + 1)
        if item.name in ("RUN", "COPY", "ADD"):
            position, body = _heredocs(item, lines, position)
            item = Instruction(item.name, item.text + body, item.flags, item.line)
        yield item


def _escape(lines: Sequence[str]) -> str:
    for line in lines:
        directive = re.fullmatch(r"#\s*([a-z]+)\s*=\s*(\S+)\s*", line, re.IGNORECASE)
        if directive is None:
            return "\\"
        if directive[1].lower() == "escape":
            return directive[2]
    return "\\"


def _heredocs(item: Instruction, lines: Sequence[str], position: int) -> tuple[int, str]:
    body = ""
    for match in _HEREDOC.finditer(item.text):
        if item.name != "RUN":
            raise DockerfileError(f"line {item.line}: {item.name} with a here-document is not supported; put the text into a file")
        while True:
            if position >= len(lines):
                raise DockerfileError(f"line {item.line}: the here-document {match[2]} is not closed")
            line = lines[position]
            position += 1
            body += "\n" + line
            if line.strip() == match[2]:
                break
    return position, body


def _instruction(logical: str, line: int) -> Instruction:
    name, _, rest = logical.partition(" ")
    name, rest = name.upper(), rest.strip()
    if name not in _INSTRUCTIONS:
        raise DockerfileError(f"line {line}: unknown instruction {name}")
    flags: dict[str, str] = {}
    if name in ("FROM", "COPY", "ADD", "RUN", "HEALTHCHECK"):
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            key, _, value = flag[2:].partition("=")
            flags[key], rest = value, rest.strip()
    if not rest:
        raise DockerfileError(f"line {line}: {name} has no argument")
    return Instruction(name, rest, flags, line)
