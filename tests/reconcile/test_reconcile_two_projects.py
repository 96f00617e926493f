"""Several projects in one account, of one role too: none touches what another has made, and a renamed one says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from reconcile_live import Live
from reconcile_world import write

from controller.reconcile.destroy import Destroyer
from controller.reconcile.state import State

OURS = """
    kind: Warehouse
    metadata: {name: wh_@}
    ---
    kind: ComputePool
    metadata: {name: pool_@}
    spec: {instanceFamily: CPU_X64_XS, initiallySuspended: true}
    ---
    kind: Database
    metadata: {name: db_@, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db_@, deletionPolicy: delete}
    ---
    kind: Stage
    metadata: {name: st, schema: db_@.sch, deletionPolicy: delete}
"""
THEIRS = """
    kind: Warehouse
    metadata: {name: wh_@}
    spec: {autoSuspend: 600}
    ---
    kind: Warehouse
    metadata: {name: other_@}
    ---
    kind: Stage
    metadata: {name: beside, schema: db_@.sch, deletionPolicy: delete}
"""


@pytest.fixture
def rival(live: Live, tmp_path: Path) -> Iterator[Live]:
    """Another project with the same role, whose stage lives in the first one's schema."""
    folder = tmp_path / "rival"
    folder.mkdir()
    text = f"apiVersion: snowcat/v1\nkind: Project\nproject: rival{live.n}\nrole: worker{live.n}\nexisting: [Schema/db_@.sch]\n"
    (folder / "snowcat.yaml").write_text(live.text(text))
    other = replace(live, folder=folder, state=State(tmp_path / "rival.db"), reports=[])
    yield other
    other.state.close()


def shown(live: Live) -> list[tuple[object, ...]]:
    """What stands in the account of either project, without what moves by itself."""
    questions = ("WAREHOUSES", "COMPUTE POOLS", "DATABASES", "SCHEMAS IN ACCOUNT", "STAGES IN ACCOUNT")
    rows = [(question, row["name"], row["comment"]) for question in questions for row in live.sql(f"SHOW {question}")]
    return sorted(row for row in rows if str(live.n) in str(row))


def test_one_project_leaves_the_other_alone(live: Live, rival: Live) -> None:
    live.write(a=OURS)
    assert live.apply().ready
    rival.write(b=THEIRS)
    report = rival.apply()
    assert [str(status.key) for status in report.failed] == [live.text("Warehouse/wh_@")], "the first project's warehouse is refused"
    assert "belongs to project" in report.failed[0].message
    before = shown(live)
    assert live.apply().ready
    assert not rival.apply().ready
    assert shown(live) == before, "neither undoes the other's work"


def test_a_project_goes_and_what_the_other_keeps_inside_stays(live: Live, rival: Live) -> None:
    live.write(a=OURS)
    assert live.apply().ready
    rival.write(b=THEIRS.split("---")[2])
    assert rival.apply().ready
    gone = Destroyer(live.engine()).run()
    assert {str(key) for key in gone.refused} == {live.text("Database/db_@"), "Schema/sch"}
    assert "stage BESIDE" in " ".join(gone.refused.values())
    assert live.row(f"STAGES IN SCHEMA db_{live.n}.sch", "beside") and rival.apply().ready
    assert Destroyer(rival.engine()).run().clean and Destroyer(live.engine()).run().clean
    assert live.row("DATABASES", "db_@") is None


def test_a_renamed_project_changes_nothing_and_says_so(live: Live) -> None:
    live.write(a=OURS)
    assert live.apply().ready
    before = shown(live)
    file = live.folder / "snowcat.yaml"
    file.write_text(file.read_text().replace("project: proj", "project: renamed"))
    report = live.apply()
    assert not report.ready and shown(live) == before
    assert all("renamed" in status.message for status in report.statuses), [status.message for status in report.statuses]


def test_half_of_a_project_goes_only_when_somebody_has_counted(live: Live) -> None:
    live.write(a=OURS, b="\n---\n".join(f"kind: Warehouse\nmetadata: {{name: w{i}_@}}" for i in range(4)))
    assert live.apply().ready
    before = shown(live)
    (live.folder / "b.yaml").unlink()
    report = live.apply()
    assert shown(live) == before
    assert "'snowcat apply --allow-prune 4'" in report.failed[0].message
    for allowed, left in ((3, 4), (4, 0)):
        reconciler = live.reconciler()
        reconciler.engine.allow_prune = allowed
        reconciler.engine.allow_prune = allowed
        reconciler.run(until_settled=True, timeout=3000)
        assert sum(bool(live.row("WAREHOUSES", f"w{i}_@")) for i in range(4)) == left


def test_a_mark_that_was_written_over_comes_back(live: Live) -> None:
    live.write(a="kind: Warehouse\nmetadata: {name: wh_@}")
    assert live.apply().ready
    live.by_hand("ALTER WAREHOUSE wh_@ SET COMMENT = 'do not touch'")
    assert live.apply().ready
    row = live.row("WAREHOUSES", "wh_@")
    assert row is not None and "[snowcat" in row["comment"]
    live.by_hand("CREATE OR REPLACE WAREHOUSE wh_@ COMMENT = 'another one'")
    report = live.apply()
    assert not report.ready and "adopt" in report.failed[0].message


def test_an_empty_folder_drops_nothing(live: Live) -> None:
    live.write(a=OURS)
    assert live.apply().ready
    before = shown(live)
    (live.folder / "a.yaml").write_text("")
    live.apply()
    assert shown(live) == before, "an emptied file"
    (live.folder / "a.yaml").unlink()
    assert not live.apply().ready
    assert shown(live) == before, "no file at all"
    write(live.folder, a=live.text(OURS))
    assert live.apply().ready
