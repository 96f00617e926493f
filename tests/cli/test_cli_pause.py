"""`suspend`, `resume` and `reconcile` as a person calls them."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_support import OBJECTS, Output, Snowcat

from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.cli import pause
from controller.cli.target import Target
from controller.cli.words import Wanted
from controller.reconcile.pause import Writing
from controller.reconcile.state import State


def test_an_object_is_suspended_and_resumed(local: Snowcat) -> None:
    assert local("apply", "--local").code == 0
    done = local("suspend", "Warehouse/wh", "Stage/files", "--local")
    assert done.code == 0 and "Warehouse/wh is suspended" in done.out and "Stage/files is suspended" in done.out
    assert local("suspend", "Warehouse/wh", "--local").out == "suspended already\n"
    (local.folder / "objects.yaml").write_text(OBJECTS.replace('"${suspend}"', "77"))
    assert local("apply", "--local").code == 0
    status = json.loads(local("get", "Warehouse/wh", "--local", "-o", "json").out)[0]
    assert (status["health"], status["sync"]) == ("Suspended", "OutOfSync")
    shown = local("describe", "Warehouse/wh", "--local").out
    assert "Suspended" in shown and "until 'snowcat resume Warehouse/wh'" in shown
    done = local("resume", "Warehouse/wh", "--local")
    assert done.out == "Warehouse/wh is resumed\n"
    assert local("apply", "--local").code == 0
    status = json.loads(local("get", "Warehouse/wh", "--local", "-o", "json").out)[0]
    assert (status["health"], status["sync"]) == ("Healthy", "Synced")
    reasons = [event["reason"] for event in json.loads(local("events", "Warehouse/wh", "--local", "-o", "json").out)]
    assert reasons.count("Suspended") == 1 and reasons.count("Resumed") == 1


def test_what_cannot_be_done_is_said(local: Snowcat) -> None:
    refused = local("suspend", "Warehouse/wh", "--local")
    assert refused.code == 1 and "is not there yet: set 'suspend: true' under metadata" in refused.err
    assert local("suspend", "--local").code == 2
    assert "did you mean" in local("resume", "Warehouse/wx", "--local").err


def test_what_is_dropped_right_after_its_note_was_written_breaks_nothing(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    key = ObjectKey("Warehouse", QualifiedName.parse("wh"))
    plans = iter([{key: object()}, {}])
    state = State(None)
    opened: Any = SimpleNamespace(state=state)
    monkeypatch.setattr(pause, "opened", lambda _: contextlib.nullcontext(opened))
    monkeypatch.setattr(pause, "_undisturbed", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(pause, "_look", lambda _: (SimpleNamespace(objects=next(plans)), None))
    monkeypatch.setattr(pause, "pausing", lambda keys, *_: [Writing(key, ()) for key in keys])
    monkeypatch.setattr(pause, "_send", lambda *_: None)
    pause.suspend(Wanted(Target(project), kinds=frozenset({"Warehouse"})))
    assert [(event.reason, event.message.partition(" by ")[0]) for event in state.events()] == [("Suspended", "suspended")]


def test_a_request_says_when_nobody_is_there_to_hear_it(local: Snowcat) -> None:
    alone = local("reconcile", "Warehouse/wh", "--local")
    assert alone.code == 0 and "no daemon runs here" in alone.err
    process = local.start("run", "--local", "--log-format", "json")
    try:
        output = Output(process)
        output.until("all objects are ready")
        assert local("reconcile", "Warehouse/wh", "--local").out == "asked for a look at Warehouse/wh\n"
        output.until("ReconcileRequested")
        assert local("suspend", "Warehouse/wh", "--local").out == "Warehouse/wh is suspended\n"
        output.until('"event": "leading"')  # it gave the lease for the note, and leads again
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    assert "no daemon runs here" in local("reconcile", "--local").err
