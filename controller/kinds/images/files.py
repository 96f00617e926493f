"""From a Dockerfile and a build context to the files and the configuration of an image, and the content tag that names both.

This is as much of a build as needs no engine: what COPY brings in, and what ENV, WORKDIR, ENTRYPOINT, CMD, USER, EXPOSE and LABEL say.
What an engine would execute (the base image, RUN, and COPY of what RUN made) is listed in `not_executed`, and counts for the tag.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from controller.kinds.images.dockerfile import PREDEFINED_ARGS, Dockerfile, DockerfileError, Instruction, Stage, assignments, substitute
from controller.kinds.images.ignore_file import IgnoreRules


@dataclass(frozen=True)
class ImageFile:
    """One file of the layer: where it comes from, and whether it may be executed. `link` is set for a symbolic link."""

    source: Path
    executable: bool = False
    link: str | None = None


@dataclass(frozen=True)
class ImageConfig:
    """What a container of the image starts with."""

    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImagePlan:
    """All that goes into an image. `files` maps the path in the image (without a leading slash) to its source."""

    files: Mapping[str, ImageFile]
    config: ImageConfig
    instructions: tuple[str, ...]  # text of FROM and RUN with variables replaced: an engine would execute them
    not_executed: tuple[str, ...]  # the same for people: `FROM python:3.12-slim`, `RUN pip install …`
    platform: str

    @property
    def bytes(self) -> int:
        return sum(file.source.lstat().st_size for file in self.files.values())


@dataclass(frozen=True)
class BuildContext:
    """A folder and what of it is left out."""

    root: Path
    ignore: IgnoreRules = field(default_factory=IgnoreRules)

    def select(self, pattern: str) -> list[tuple[str, str]]:
        """Files that a COPY source names, as (path in the context, path below the source); one file has '' for the second.

        A folder's content counts, not the folder. Ignored files are left out. Sorted.
        """
        clean = posixpath.normpath(pattern.lstrip("/") or ".")
        if clean == ".." or clean.startswith("../"):
            raise ValueError(f"{pattern} leaves the build context {self.root}")
        if any(char in clean for char in "*?["):
            tops = sorted(match.relative_to(self.root).as_posix() for match in self.root.glob(clean))
        else:
            tops = [clean] if os.path.lexists(self.root / clean) else []
        found = []
        for top in tops:
            path = self.root / top
            if path.is_dir() and not path.is_symlink():
                inside = ((name, posixpath.relpath(name, top)) for name in self._walk(path))
                found += [(name, below) for name, below in inside if not self.ignore.ignores(name)]
            elif not self.ignore.ignores(top):
                found.append((top, ""))
        return found

    def _walk(self, folder: Path) -> Iterable[str]:
        for current, folders, files in os.walk(folder):
            folders.sort()
            linked = [name for name in folders if (Path(current) / name).is_symlink()]
            for name in sorted([*files, *linked]):
                yield (Path(current) / name).relative_to(self.root).as_posix()


@dataclass
class _State:
    """What has been gathered while a stage is walked through."""

    files: dict[str, ImageFile]
    config: ImageConfig
    args: dict[str, str]
    not_executed: list[str]
    executed: list[str]

    @property
    def variables(self) -> dict[str, str]:
        return {**self.args, **self.config.env}


def plan_image(
    dockerfile: Dockerfile, context: BuildContext, target: str | None, build_args: Mapping[str, str], platform: str = "linux/amd64"
) -> ImagePlan:
    """Walk through the target's stages.

    Raises:
        DockerfileError: a bad instruction, an unknown target or build argument, or a COPY source that is not in the context.
    """
    stage = dockerfile.target(target)
    _check_build_args(dockerfile, build_args)
    state = _stage(dockerfile, stage, context, build_args)
    return ImagePlan(state.files, state.config, tuple(state.executed), tuple(state.not_executed), platform)


def content_hash(plan: ImagePlan) -> str:
    """sha256 over all that decides what the image is: files (path, mode, content), configuration, FROM and RUN, platform."""
    digest = hashlib.sha256()
    head = {
        "platform": plan.platform,
        "instructions": plan.instructions,
        "config": {name: getattr(plan.config, name) for name in ImageConfig.__dataclass_fields__},
    }
    digest.update(json.dumps(head, sort_keys=True).encode())
    for path in sorted(plan.files):
        file = plan.files[path]
        digest.update(f"\0{path}\0{file.executable}\0{file.link or ''}\0".encode())
        if file.link is None:
            with file.source.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _check_build_args(dockerfile: Dockerfile, given: Mapping[str, str]) -> None:
    declared = set(dockerfile.global_args) | PREDEFINED_ARGS
    for stage in dockerfile.stages:
        declared |= {re.split(r"[=\s]", item.text, maxsplit=1)[0] for item in stage.instructions if item.name == "ARG"}
    unknown = sorted(set(given) - declared)
    if unknown:
        names = ", ".join(sorted(declared - PREDEFINED_ARGS)) or "none"
        raise DockerfileError(f"line 1: no ARG declares the build argument {unknown[0]!r}; declared: {names}")


def _stage(dockerfile: Dockerfile, stage: Stage, context: BuildContext, build_args: Mapping[str, str]) -> _State:
    parent = dockerfile.find(stage.base, stage.index)
    if parent is not None:
        below = _stage(dockerfile, parent, context, build_args)
        state = replace(below, args={}, files=dict(below.files))  # ARGs end with their stage
    else:
        line = f"FROM {stage.base}"
        state = _State({}, ImageConfig(), {}, [line] if stage.base != "scratch" else [], [line])
    walker = _Walker(dockerfile, stage, context, build_args, state)
    for item in stage.instructions:
        walker.take(item)
    return state


@dataclass
class _Walker:
    """Carries out one stage's instructions, in order, on `state`."""

    dockerfile: Dockerfile
    stage: Stage
    context: BuildContext
    build_args: Mapping[str, str]
    state: _State

    def take(self, item: Instruction) -> None:
        state, config = self.state, self.state.config
        if item.name == "ARG":
            for name, default in assignments(item, state.variables):
                fallback = default if default is not None else self.dockerfile.global_args.get(name, "")
                state.args[name] = self.build_args.get(name, fallback)
        elif item.name == "ENV":
            for name, value in assignments(item, state.variables):
                state.config = replace(state.config, env={**state.config.env, name: value or ""})
        elif item.name == "LABEL":
            pairs = {name: value or "" for name, value in assignments(item, state.variables)}
            state.config = replace(config, labels={**config.labels, **pairs})
        elif item.name == "WORKDIR":
            state.config = replace(config, working_dir=self._path(substitute(item.text, state.variables)))
        elif item.name == "ENTRYPOINT":
            state.config = replace(config, entrypoint=item.command, command=())  # as Docker: a new ENTRYPOINT clears an earlier CMD
        elif item.name == "CMD":
            state.config = replace(config, command=item.command)
        elif item.name == "USER":
            state.config = replace(config, user=substitute(item.text, state.variables))
        elif item.name == "EXPOSE":
            ports = (port if "/" in port else f"{port}/tcp" for port in substitute(item.text, state.variables).split())
            state.config = replace(config, ports=tuple(dict.fromkeys([*config.ports, *ports])))
        elif item.name == "RUN":
            self._note(f"RUN {substitute(item.text, state.variables)}")
        elif item.name in ("COPY", "ADD"):
            self._copy(item)

    def _note(self, line: str) -> None:
        self.state.not_executed.append(line)
        self.state.executed.append(line)

    def _path(self, path: str) -> str:
        """An absolute path in the image; relative ones start at WORKDIR."""
        return posixpath.normpath(posixpath.join("/", self.state.config.working_dir, path))

    def _copy(self, item: Instruction) -> None:
        *sources, target = (substitute(word, self.state.variables) for word in item.words)
        if not sources:
            raise DockerfileError(f"line {item.line}: {item.name} needs a source and a target")
        origin = item.flags.get("from")
        if origin is not None:
            self._copy_from_stage(item, origin, sources, target)
            return
        for source in sources:
            if "://" in source or source.startswith("git@"):
                self._note(f"{item.name} {source} {target}")
                continue
            try:
                found = self.context.select(source)
            except ValueError as error:
                raise DockerfileError(f"line {item.line}: {item.name} {error}") from None
            is_pattern = any(char in source for char in "*?[")  # one that matches nothing is no error, as in BuildKit
            if not found and not is_pattern and not (self.context.root / source.lstrip("/")).is_dir():
                raise DockerfileError(f"line {item.line}: {item.name} {source}: no such file in the build context {self.context.root}")
            for name, below in found:
                self._place(_file(self.context.root / name), posixpath.basename(name), below, target, many=len(sources) > 1)

    def _copy_from_stage(self, item: Instruction, origin: str, sources: list[str], target: str) -> None:
        stage = self.dockerfile.find(origin, self.stage.index)
        if stage is None:
            self._note(f"{item.name} --from={origin} {' '.join(sources)} {target}")
            return
        other = _stage(self.dockerfile, stage, self.context, self.build_args)
        self.state.executed += [line for line in other.executed if line not in self.state.executed]
        for source in sources:
            top = posixpath.normpath("/" + source).lstrip("/")
            found = [(path, posixpath.relpath(path, top) if path != top else "") for path in other.files if _below(path, top)]
            if not found:  # made by a RUN of that stage
                self.state.not_executed.append(f"{item.name} --from={origin} {source} {target}")
            for path, below in sorted(found):
                self._place(other.files[path], posixpath.basename(path), below, target, many=len(sources) > 1)

    def _place(self, file: ImageFile, name: str, below: str, target: str, *, many: bool) -> None:
        folder = self._path(target)
        if below:
            path = posixpath.join(folder, below)
        elif many or target.endswith("/") or target in (".", "..") or self._is_folder(folder):
            path = posixpath.join(folder, name)
        else:
            path = folder
        self.state.files[path.lstrip("/")] = file

    def _is_folder(self, path: str) -> bool:
        inside = path.strip("/") + "/"
        return path == self.state.config.working_dir or any(name.startswith(inside) for name in self.state.files)


def _below(path: str, top: str) -> bool:
    if any(char in top for char in "*?["):
        return fnmatch.fnmatchcase(path, top)
    return top in ("", ".") or path == top or path.startswith(top + "/")


def _file(path: Path) -> ImageFile:
    if path.is_symlink():
        return ImageFile(path, link=os.readlink(path))  # noqa: PTH115 (the text of the link, as it is)
    return ImageFile(path, executable=bool(path.stat().st_mode & stat.S_IXUSR))
