"""What a daemon must not believe: listings that are late, and the silence after a statement that had its effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faults_crash import DEEP, Unbroken, differences
from faults_lab import CLIENT, LEASE, LightLab
from faults_schedule import settled

#: While an apply runs, and while a destroy does. With `attempts` the driver never gets an answer, gives up and breaks its session.
STORIES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "every listing is late, the lease's too": ([{"match": "^SHOW", "stale": 1.5}], [{"match": "^SHOW", "stale": 1.5}]),
    "no answer to what started a job, or dropped one": (
        [{"match": "^EXECUTE JOB.*TOY_WISHES", "drop": "after", "attempts": 99, "times": 1}],
        [{"match": "^DROP (SERVICE|DATABASE)", "drop": "after", "attempts": 99, "times": 2}],
    ),
    "no answer to any change, once": (
        [{"match": "^(CREATE|ALTER|EXECUTE|COMMENT|COPY|PUT)", "drop": "after", "attempts": 99, "probability": 0.1, "times": 6}],
        [{"match": "^DROP", "drop": "after", "attempts": 99, "probability": 0.3, "times": 6}],
    ),
    "the session ends with every tenth change": (
        [{"match": "^(CREATE|ALTER|EXECUTE|COMMENT|COPY|PUT)", "expire": "master", "every": 10}],
        [{"match": "^DROP", "expire": "master", "every": 5}],
    ),
}


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("story", STORIES if DEEP else list(STORIES)[:1])
def test_one_daemon_gets_there_by_itself(tmp_path: Path, unbroken: Unbroken, story: str) -> None:
    lab, (going, leaving) = LightLab(tmp_path), STORIES[story]
    lab.account.start()
    try:
        lab.faults.put(*({"client": CLIENT, **rule} for rule in going), seed=1)
        lab.finish("apply")
        assert lab.faults.fired() > 0
        lab.faults.clear()
        assert differences(settled(unbroken.applied), settled(lab.portrait())) == [], lab.story()
        last = lab.faults.statements()[-1]["n"]
        lab.finish("apply")
        assert [text for text in lab.changes(last) if LEASE not in text] == [], "nothing is left to do"
        lab.faults.put(*({"client": CLIENT, **rule} for rule in leaving), seed=1)
        lab.finish("destroy", "--yes")
        assert lab.faults.fired() > 0
        lab.faults.clear()
        assert differences(unbroken.destroyed, lab.portrait()) == [], lab.story()
    finally:
        lab.account.stop()
