"""Random schedules of faults: whatever happened on the way, the project ends at the account of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults_crash import DEEP, SEED, Unbroken, differences
from faults_lab import LEASE, LightLab
from faults_schedule import Supervisor, draw, settled


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    assert draw(3) == draw(3) != draw(4)
    assert len({rule["name"] for seed in range(50) for rule in draw(seed)}) == 13, "every fault is drawn by some seed"


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(4) if DEEP else range(1))
def test_a_random_schedule(tmp_path: Path, unbroken: Unbroken, number: int) -> None:
    lab, seed = LightLab(tmp_path), 100 * SEED + number
    lab.account.start()
    try:
        Supervisor(lab, seed, ("run",)).run()
        lab.finish("apply")
        assert differences(settled(unbroken.applied), settled(lab.portrait())) == [], f"schedule {draw(seed)}:\n{lab.story()}"
        last = lab.faults.statements()[-1]["n"]
        lab.finish("apply")
        assert [text for text in lab.changes(last) if LEASE not in text] == [], "nothing is left to do"
        if DEEP:
            Supervisor(lab, seed + 50, ("destroy", "--yes")).run()
        lab.finish("destroy", "--yes")
        assert differences(unbroken.destroyed, lab.portrait()) == [], f"schedule {draw(seed + 50)}:\n{lab.story()}"
    finally:
        lab.account.stop()
