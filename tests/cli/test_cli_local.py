"""The embedded account as a process: started once, found again, stopped, reset; and what stands in its way."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from cli_support import Snowcat

from controller.cli.errors import Failure
from controller.cli.local_account import LocalAccount


def record(local: Snowcat) -> dict[str, object]:
    found: dict[str, object] = json.loads(local("local", "status", "-o", "json").out)
    return found


def folder(local: Snowcat) -> Path:
    return Path(local.environment["SNOWCAT_LOCAL_STATE"])


def test_it_starts_once_and_stops(local: Snowcat) -> None:
    assert local("local", "status").code == 1
    first = local("local", "start")
    assert first.code == 0, first
    assert first.out.startswith("up: http://127.0.0.1:")
    up = record(local)
    assert up["running"] is True
    assert local("local", "start").out.startswith("already up: ")
    assert record(local)["pid"] == up["pid"]
    password = json.loads((folder(local) / "account.json").read_text())["password"]
    assert password not in local("local", "status").text
    assert local("local", "stop").out == "stopped\n"
    assert local("local", "stop").out == "it was not running\n"
    local("local", "start")
    assert record(local)["port"] == up["port"], "clients find it again"


def test_a_stale_record_means_nothing(local: Snowcat) -> None:
    """After kill -9 the record stays; its pid may belong to somebody else by now."""
    local("local", "start")
    old = folder(local) / "account.json"
    stale = json.loads(old.read_text())
    os.kill(stale["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while LocalAccount(folder(local)).running() and time.monotonic() < deadline:
        time.sleep(0.02)
    old.write_text(json.dumps({**stale, "pid": os.getpid()}))
    assert local("local", "status").code == 1
    assert local("local", "stop").out == "it was not running\n"
    assert local("local", "start").code == 0
    assert record(local)["pid"] != os.getpid()


def test_a_port_that_is_taken(local: Snowcat) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = local("local", "start", "--port", str(port))
    assert done.code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.err
    assert "choose another with --port" in done.err


def test_two_starts_at_once_give_one_account(local: Snowcat) -> None:
    starts = [local.start("local", "start") for _ in range(3)]
    said = [process.communicate(timeout=90)[0] for process in starts]
    assert [process.returncode for process in starts] == [0, 0, 0], said
    assert len({text.split(": ")[1] for text in said}) == 1


def test_reset_asks_and_removes(local: Snowcat) -> None:
    local("local", "start")
    refused = local("local", "reset", stdin="n\n")
    assert refused.code == 1
    assert "nothing was removed" in refused.err
    assert record(local)["running"] is True
    assert local("local", "reset", "--yes").code == 0
    assert not folder(local).exists()


def test_reset_never_removes_what_is_no_account(local: Snowcat) -> None:
    folder(local).mkdir()
    (folder(local) / "thesis.txt").write_text("years of work")
    done = local("local", "reset", "--yes")
    assert done.code == 2
    assert "does not look like an embedded account" in done.err
    assert (folder(local) / "thesis.txt").exists()


def test_start_refuses_the_folder_of_others(local: Snowcat) -> None:
    folder(local).mkdir()
    (folder(local) / "thesis.txt").write_text("years of work")
    done = local("local", "start")
    assert done.code == 2
    assert "holds thesis.txt, which no embedded account has made: name an empty or a new folder with --state" in done.err
    assert [entry.name for entry in folder(local).iterdir()] == ["thesis.txt"]


def test_reset_leaves_what_the_account_has_not_made(local: Snowcat) -> None:
    local("local", "start")
    (folder(local) / "notes").mkdir()
    (folder(local) / "notes" / "thesis.txt").write_text("years of work")
    done = local("local", "reset", "--yes")
    assert done.code == 0
    assert done.out == f"removed, but not the folder {folder(local)}: it holds what the account has not made: notes\n"
    assert [entry.name for entry in folder(local).iterdir()] == ["notes"], "nothing of the account's is left"
    assert (folder(local) / "notes" / "thesis.txt").read_text() == "years of work"


FOREIGN = [
    ("a project's folder of images", ["images"]),
    ("names of an account beside others", ["lock", "thesis.txt"]),
    ("a catalogue that is a folder", ["catalogue.sqlite"]),
]


@pytest.mark.parametrize(("reason", "names"), FOREIGN)
def test_a_name_of_the_accounts_makes_no_account(reason: str, names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    account = LocalAccount(tmp_path)
    with pytest.raises(Failure, match="no embedded account has made"):
        account.start()
    with pytest.raises(Failure, match="nothing was removed"):
        account.reset()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(names), reason


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("catalogue.sqlite", "password"):
        (tmp_path / name).touch()

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(Failure, match=r"cannot be removed: Permission denied"):
        LocalAccount(tmp_path).reset()
    assert (tmp_path / "catalogue.sqlite").exists(), "it is still known as an account's"


def test_a_link_in_the_folder_is_removed_and_not_what_it_points_to(tmp_path: Path) -> None:
    account, outside = tmp_path / "account", tmp_path / "outside"
    account.mkdir()
    outside.mkdir()
    (outside / "thesis.txt").touch()
    (account / "catalogue.sqlite").touch()
    (account / "stages").symlink_to(outside)
    assert LocalAccount(account).reset() == ()
    assert not account.exists()
    assert (outside / "thesis.txt").exists()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "duckdb" else found(name, *rest))
    with pytest.raises(Failure, match=r"needs duckdb: pip install 'snowcat\[local\]'"):
        LocalAccount(tmp_path / "account").start()
    assert not (tmp_path / "account").exists()


@pytest.mark.parametrize("scale", ["fast", "-1", "nan", "inf"])
def test_a_time_scale_that_is_none(scale: str, local: Snowcat) -> None:
    done = local("local", "start", SNOWCAT_LOCAL_TIME_SCALE=scale)
    assert done.code == 2
    assert f"SNOWCAT_LOCAL_TIME_SCALE is '{scale}'" in done.err
