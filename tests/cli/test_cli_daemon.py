"""`run` and `plan --watch`: long-running commands, driven by saving files and by signals."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from cli_support import OBJECTS, Output, Snowcat


def test_watch_shows_the_sql_of_a_change_as_the_file_is_saved(snowcat: Snowcat) -> None:
    process = snowcat.start("plan", "--offline", "--watch")
    try:
        output = Output(process)
        assert "4 to create" in output.until("waiting for a file")
        objects = snowcat.folder / "objects.yaml"
        objects.write_text(OBJECTS.replace('"${suspend}"', "77"))
        changed = output.until("waiting for a file")
        assert "AUTO_SUSPEND = 77" in changed
        assert "CREATE DATABASE" not in changed, "only what changed"
        objects.write_text(OBJECTS.replace("autoSuspend", "autoSuspnd"))
        assert "did you mean autoSuspend?" in output.until("waiting for a file")
        objects.write_text(OBJECTS)
        assert "AUTO_SUSPEND = 600" in output.until("waiting for a file")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_daemon_follows_the_files_and_stops_cleanly(number: signal.Signals, local: Snowcat) -> None:
    process = local.start("run", "--local", "--log-format", "json")
    objects = local.folder / "objects.yaml"
    try:
        output = Output(process)
        output.until("all objects are ready")
        objects.write_text(OBJECTS.replace('"${suspend}"', "77"))
        changed = output.until('"event": "Updated"')
        assert [event["object"] for event in entries(changed) if event["event"] == "done"] == ["Warehouse/wh"], "just that object"
        (local.folder / "broken.yaml").write_text("x: [\n")
        assert "broken.yaml:2" in output.until("InvalidManifest")
        objects.write_text(OBJECTS.replace('"${suspend}"', "78"))
        output.until('"event": "Updated"')  # a broken file holds nothing else up
        (local.folder / "broken.yaml").unlink()
        output.until("all manifests are valid again")
        process.send_signal(number)
        assert "stopped" in output.until('"event": "stopped"')
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    for entry in entries(output.text):
        assert {"event", "level", "timestamp"} <= entry.keys()


def test_a_look_can_be_asked_for(local: Snowcat) -> None:
    project = local.folder / "snowcat.yaml"
    project.write_text(project.read_text().replace("resync: 2s", "resync: 1h"))
    process = local.start("run", "--local", "--log-format", "json")
    try:
        output = Output(process)
        output.until("all objects are ready")
        assert local("reconcile", "Warehouse/wh", "--local").code == 0
        assert "ReconcileRequested" in output.until("ReconcileRequested")
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_an_interrupted_apply_says_so_and_goes_on_later(local: Snowcat) -> None:
    slow = {"SNOWCAT_LOCAL_TIME_SCALE": "3"}
    pool = "---\napiVersion: snowcat/v1\nkind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS}\n"
    (local.folder / "objects.yaml").write_text(OBJECTS + pool)
    assert local("local", "start", **slow).code == 0
    process = local.start("apply", "--local")
    try:
        Output(process).until("ComputePool/pool Synced Progressing")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.wait()
    timed_out = local("apply", "--local", "--timeout", "10")
    assert timed_out.code == 1
    assert "not done within 10 seconds; 'snowcat apply' again goes on from here" in timed_out.err
    assert "ComputePool/pool (objects.yaml:" in timed_out.err
    assert ") is Synced, Progressing" in timed_out.err


def entries(text: str) -> list[dict[str, object]]:
    """The log lines, each one JSON object."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_the_state_of_the_controller_lies_with_its_account(local: Snowcat) -> None:
    assert local("plan", "--local").code == 0
    account = Path(local.environment["SNOWCAT_LOCAL_STATE"])
    assert [path.name for path in (account / "controller").glob("*.db")] == ["local-small.db"]
