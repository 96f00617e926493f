"""YAML as a tree that remembers its lines, read without ever running what a document asks for.

The tree is built from the parser's events, not by a YAML constructor: there are no tags to obey, a key that stands twice is seen, aliases
are counted before they are followed, and depth is bounded. Scalars follow YAML 1.2: `yes` and `on` are text, `1e-4` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

MAX_DEPTH = 60
MAX_NODES = 100_000  # after aliases are followed; the lab's largest file has a few hundred

_TAG_PREFIX = "tag:yaml.org,2002:"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MERGE_MARKER = re.compile(r"(<{7}|\|{7}|={7}|>{7})(?: .*)?")  # of git; always at the beginning of a line
_SPECIAL = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}


class YamlProblem(Exception):
    """A document cannot be read. `line` counts from 1; `field` is the path so far, where one is known."""

    def __init__(self, message: str, line: int, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint
        self.field = field


@dataclass(frozen=True, eq=False)
class Node:
    """A value with its line. `value` is a scalar, a list of nodes, or a dict of nodes by key; `lines` holds the lines of a dict's keys."""

    value: Any
    line: int
    lines: dict[str, int]
    size: int = 1

    @property
    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    def find(self, path: Sequence[str | int]) -> tuple[int, tuple[str | int, ...]]:
        """The line of the deepest part of `path` that exists, and that part of the path. Segments that are not in the tree are skipped."""
        node, line, found = self, self.line, []
        for segment in path:
            if isinstance(node.value, dict) and segment in node.value:
                line, node = node.lines[str(segment)], node.value[segment]
            elif isinstance(node.value, list) and isinstance(segment, int) and segment < len(node.value):
                node = node.value[segment]
                line = node.line
            else:
                continue
            found.append(segment)
        return line, tuple(found)


def node_of(value: Any, line: int) -> Node:
    """A tree for a plain value, all of it on one line."""
    if isinstance(value, dict):
        children = {str(key): node_of(child, line) for key, child in value.items()}
        return Node(children, line, dict.fromkeys(children, line), 1 + sum(c.size for c in children.values()))
    if isinstance(value, list):
        items = [node_of(child, line) for child in value]
        return Node(items, line, {}, 1 + sum(c.size for c in items))
    return Node(value, line, {})


def scalar(text: str) -> Any:
    """The value of an unquoted scalar in YAML 1.2's core schema."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if len(text) <= 40 and _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        return float(text)
    return _SPECIAL.get(text.lower(), text)


def dotted(path: Sequence[str | int]) -> str:
    """`spec.networkRules[0]`."""
    text = ""
    for segment in path:
        text += f"[{segment}]" if isinstance(segment, int) else f".{segment}" if text else segment
    return text


def documents(text: str) -> Iterator[Node]:
    """The documents of a file; empty ones are left out.

    Raises:
        YamlProblem: at the first thing that cannot be read.
    """
    try:
        yield from _Builder().documents(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        raise _explained(str(getattr(error, "problem", None) or error), mark.line + 1 if mark else 1, text) from None


def _explained(problem: str, line: int, text: str) -> YamlProblem:
    lines = text.splitlines()
    for number, written in enumerate(lines, 1):
        if marker := _MERGE_MARKER.fullmatch(written):
            return YamlProblem(f"{marker[1]!r} marks a merge that is not finished", number, "keep what is right and remove git's markers")
    here = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\\t" in problem or "\t" in here[: len(here) - len(here.lstrip())]:
        return YamlProblem("a tab stands where YAML takes spaces only", line, "indent with spaces")
    if "mapping values are not allowed" in problem:
        return YamlProblem(
            "this is not YAML: a ':' where none may stand", line, "put text that holds ': ' in quotes, and check the indentation"
        )
    if "',' or" in problem and re.search(r"(?<![\"'$])\$\{", here):
        return YamlProblem(f"this is not YAML: {problem}", line, 'put "${…}" in quotes where it stands within { } or [ ]')
    return YamlProblem(f"this is not YAML: {problem}", line, "check the indentation, quotes and brackets here and above")


class _Builder:
    """Builds trees from parser events with a stack of its own, so that no input can exhaust Python's."""

    def __init__(self) -> None:
        self.anchors: dict[str, Node] = {}
        self.open: list[_Open] = []
        self.nodes = 0

    def documents(self, text: str) -> Iterator[Node]:
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors.clear()
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._refuse_tag(event.tag, line)
                if len(self.open) >= MAX_DEPTH:
                    raise YamlProblem(f"more than {MAX_DEPTH} levels deep", line, "manifests are flat; is this one?")
                self.open.append(_Open(isinstance(event, yaml.MappingStartEvent), line, event.anchor))
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                done = self.open.pop()
                yield from self._place(done.node(), done.anchor, 1)
            elif isinstance(event, yaml.ScalarEvent):
                self._refuse_tag(event.tag, line)
                quoted = bool(event.style) or event.tag is not None
                is_key = bool(self.open) and self.open[-1].wants_key
                yield from self._place(Node(event.value if quoted or is_key else scalar(event.value), line, {}), event.anchor, 1)
            elif isinstance(event, yaml.AliasEvent):
                if any(event.anchor == part.anchor for part in self.open):
                    raise YamlProblem("an alias stands within its own anchor", line)
                if event.anchor not in self.anchors:
                    raise YamlProblem("there is no anchor of its name before this alias", line, "quote text that begins with '*'")
                target = self.anchors[event.anchor]
                yield from self._place(Node(target.value, line, target.lines, target.size), None, target.size)

    def _refuse_tag(self, tag: str | None, line: int) -> None:
        if tag not in (None, "!", _TAG_PREFIX + "str"):
            if tag.startswith("!"):  # of the user's own making, or a secret that begins with '!'
                raise YamlProblem("'!' begins a tag, which is not allowed", line, "quote text that begins with '!'")
            name = tag.replace(_TAG_PREFIX, "!!")
            raise YamlProblem(f"the tag {name} is not allowed", line, "manifests are plain data: remove the tag")

    def _place(self, node: Node, anchor: str | None, weight: int) -> Iterator[Node]:
        """Put a finished node where it belongs; yields it when it is a whole document that is not empty."""
        self.nodes += weight
        if self.nodes > MAX_NODES:
            raise YamlProblem(
                f"the file unfolds to more than {MAX_NODES} values", node.line, "aliases within aliases? write the values out"
            )
        if anchor:
            self.anchors[anchor] = node
        if self.open:
            self.open[-1].add(node)
        elif node.value is not None:
            yield node


class _Open:
    """A mapping or sequence whose end has not come yet."""

    def __init__(self, mapping: bool, line: int, anchor: str | None) -> None:
        self.mapping = mapping
        self.line = line
        self.anchor = anchor
        self.items: list[Node] = []
        self.fields: dict[str, Node] = {}
        self.lines: dict[str, int] = {}
        self.merged: list[Node] = []
        self.key: Node | None = None

    @property
    def wants_key(self) -> bool:
        return self.mapping and self.key is None

    def add(self, node: Node) -> None:
        if not self.mapping:
            self.items.append(node)
        elif self.key is None:
            if not isinstance(node.value, str):
                raise YamlProblem("a key must be plain text", node.line)
            if node.value in self.fields:
                raise YamlProblem(f"the key stands twice, first in line {self.lines[node.value]}", node.line, "remove one", node.value)
            self.key = node
        else:
            if self.key.value == "<<":
                self.merged.extend(node.value if isinstance(node.value, list) else [node])
            else:
                self.fields[self.key.value] = node
                self.lines[self.key.value] = self.key.line
            self.key = None

    def node(self) -> Node:
        if not self.mapping:
            return Node(self.items, self.line, {}, 1 + sum(item.size for item in self.items))
        for part in self.merged:
            if not isinstance(part.value, dict):
                raise YamlProblem("'<<' takes a mapping, or a list of mappings", part.line)
            for key, value in part.value.items():
                if key not in self.fields:
                    self.fields[key], self.lines[key] = value, part.line
        return Node(self.fields, self.line, self.lines, 1 + sum(child.size for child in self.fields.values()))
