"""kill -9 between any two statements of the lab's apply and destroy: what is started again ends at the same account.

Five rounds of a deep run go through every boundary; otherwise a few are drawn.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from faults_crash import DEEP, MOST, Boundary, Unbroken, differences, kill_at, numbers
from faults_lab import LEASE, PATIENCE, LightLab

DEPLOYMENT = "ModelDeployment/llama_base"  # a service and two functions


@pytest.fixture
def lab(tmp_path: Path) -> LightLab:
    return LightLab(tmp_path)


@pytest.mark.deep
def test_every_boundary_is_among_those_tried(unbroken: Unbroken) -> None:
    assert unbroken.changes >= 40 and unbroken.transfers >= 10 and unbroken.drops >= 15, "the lab is less than it was"
    assert unbroken.changes + unbroken.transfers <= MOST


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", numbers())
def test_killed_on_the_way_there_and_back(lab: LightLab, unbroken: Unbroken, number: int) -> None:
    there, back = unbroken.there(number), unbroken.back(number)
    lab.account.start()
    try:
        kill_at(lab, there, unbroken.transfers if there.transfer else unbroken.changes, "apply")
        lab.finish("apply")
        assert differences(unbroken.applied, lab.portrait()) == [], f"killed at {there}:\n{lab.story()}"
        last = lab.faults.statements()[-1]["n"]
        lab.finish("apply")
        assert [text for text in lab.changes(last) if LEASE not in text] == [], "nothing is left to do"
        kill_at(lab, back, unbroken.drops, "destroy", "--yes")
        lab.finish("destroy", "--yes")
        assert differences(unbroken.destroyed, lab.portrait()) == [], f"killed at {back}:\n{lab.story()}"
    finally:
        lab.account.stop()


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", numbers()[::6] if DEEP else numbers()[:1])
def test_killed_while_a_saved_plan_is_carried_out_and_while_a_note_is_written(lab: LightLab, unbroken: Unbroken, number: int) -> None:
    """A plan that was begun is not good any more, the next one holds the rest. A note half written is written by the same command."""
    first, rest = (str(lab.folder / name) for name in ("first.json", "rest.json"))
    lab.account.start()
    try:
        lab.finish("plan", "--out", first)
        there = unbroken.there(number % unbroken.changes)
        kill_at(lab, there, unbroken.changes, "apply", "--plan", first)
        last = lab.faults.statements()[-1]["n"]
        lab.start("apply", "--plan", first).wait(PATIENCE)
        if "is not applied, nothing was changed" in lab.said():
            assert [text for text in lab.changes(last) if LEASE not in text] == []
        lab.finish("plan", "--out", rest)
        lab.finish("apply", "--plan", rest)
        assert differences(unbroken.applied, lab.portrait()) == [], f"killed at {there}:\n{lab.story()}"
        for command in ("suspend", "resume"):
            kill_at(lab, Boundary(1 + number % 3, there.fate, match="^ALTER (SERVICE|FUNCTION)"), MOST, command, DEPLOYMENT)
            lab.finish(command, DEPLOYMENT)
            lab.finish("apply")
            paused = [row for rows in lab.portrait().values() for row in rows if isinstance(row, dict) and "paused=yes" in str(row)]
            assert len(paused) == (3 if command == "suspend" else 0), lab.story()
        assert differences(unbroken.applied, lab.portrait()) == [], lab.story()
    finally:
        lab.account.stop()
