"""Which files of a folder are manifests, and their text.

`*.yaml` and `*.yml` are, below the folder of `snowcat.yaml`; hidden files and folders (`.git`, `.ipynb_checkpoints`) and folders with a
`snowcat.yaml` of their own are not.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from controller.api.objects import Location
from controller.api.project import PROJECT_FILE
from controller.manifests.nodes import YamlProblem, documents
from controller.manifests.problems import Problem

MAX_BYTES = 1 << 20  # the largest manifest seen has 20 kB; data belongs into files of its own
SUFFIXES = (".yaml", ".yml")

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


def manifest_files(folder: Path) -> list[Path]:
    """All manifests below a folder, sorted. Links are followed, each real folder once."""
    return sorted(_walk(folder, set()))


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        if _is_folder(entry):
            if not (path / PROJECT_FILE).exists():
                yield from _walk(path, seen)
        elif path.suffix.lower() in SUFFIXES and entry.name != PROJECT_FILE:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself: read as a file, which then says so
        return False


def read_text(path: Path) -> str | Problem:
    """The text of a file without its byte order mark, or why there is none."""
    start = Location(path, 1)
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # waiting for who writes into a pipe would take for ever
        try:
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode):
                return Problem(start, "this is no file", "only files, and links to files, are read as manifests")
            if found.st_size > MAX_BYTES:
                size = found.st_size / (1 << 20)
                return Problem(
                    start, f"the file has {size:.1f} MiB; a manifest has at most 1 MiB", "split it, and keep data in files of its own"
                )
            data = _content(opened, found.st_size)
        finally:
            os.close(opened)
    except OSError as error:
        return Problem(start, f"the file cannot be read: {error.strerror or error}", "check its permissions and where it links to")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Problem(start, "the file is UTF-16", "save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return Problem(Location(path, line), "the file is not text in UTF-8; is it a binary file?", "rename it, or save it as UTF-8")
    bad = _CONTROL.search(text)
    if bad:
        line = text[: bad.start()].count("\n") + 1
        return Problem(Location(path, line), f"the file holds the control character {bad[0]!r}; is it a binary file?", "remove it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _content(opened: int, size: int) -> bytes:
    """All bytes of an open file, in one call where it has the size that it says. All files are read at each save, and at each call of the
    system's another thread may take its turn."""
    data = os.read(opened, size + 1)
    while len(data) != size and (more := os.read(opened, MAX_BYTES)):  # somebody writes to it in this moment
        data += more
    return data


def field_location(place: Location, path: Sequence[str | int]) -> Location:
    """Where a field of the object at `place` stands, as the file is now; `place` itself where that cannot be told any more."""
    text = read_text(place.file)
    if isinstance(text, Problem):
        return place
    try:
        found = next((node for node in documents(text) if node.find(("metadata", "name"))[0] == place.line), None)
    except YamlProblem:
        return place
    return place if found is None else Location(place.file, found.find(path)[0])
