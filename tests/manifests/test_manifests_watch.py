"""Something changed: that is all the watcher says, and it must say it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.manifests.watch import Watcher, counts


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Path, threading.Event]]:
    changed = threading.Event()
    watcher = Watcher([tmp_path, tmp_path / "does-not-exist"], changed.set)
    watcher.start()
    yield tmp_path, changed
    watcher.stop()


def touch_until(path: Path, changed: threading.Event) -> bool:
    """Write again and again: the watcher may not have started yet."""
    return any(path.write_text(str(n)) and changed.wait(0.1) for n in range(100))


@pytest.mark.parametrize("name", ["pool.yaml", "data.jsonl"])
def test_a_saved_file_is_noticed(name: str, watched: tuple[Path, threading.Event]) -> None:
    folder, changed = watched
    assert touch_until(folder / name, changed)


@pytest.mark.parametrize(
    ("reason", "path", "matters"),
    [
        ("a manifest", "/p/.cache/lab/pool.yaml", True),
        ("data in a folder", "/p/.cache/lab/data/rows.jsonl", True),
        ("what is watched itself", "/p/.cache/lab", True),
        ("an editor's own file", "/p/.cache/lab/.pool.yaml.swp", False),
        ("a copy that Jupyter keeps", "/p/.cache/lab/.ipynb_checkpoints/a.ipynb", False),
        ("another folder", "/p/other/pool.yaml", False),
    ],
)
def test_which_changes_matter(reason: str, path: str, matters: bool) -> None:
    assert counts(Path(path), [Path("/p/.cache/lab")]) is matters, reason
