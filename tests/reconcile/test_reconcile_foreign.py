"""Nothing foreign is changed or dropped, also not inside a container of ours: whatever stands in the account, whatever manifests say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reconcile_world import POOL, STAGE, WAREHOUSE, Account, World, mark, write

from controller.account.snapshot import Row, Show
from controller.reconcile.planning.change import Action, Change, Plan
from controller.reconcile.planning.prune import Rules

PLACES = {  # kind → plural, full names that objects of it may have, columns as they should be, a spec, a spec that cannot be had in place
    "Warehouse": ("WAREHOUSES", ("w0", "w1", "w2"), WAREHOUSE, "size: xsmall, autoSuspend: 60", "size: xsmall, autoSuspend: 61"),
    "ComputePool": ("COMPUTE POOLS", ("p0", "p1"), POOL, "instanceFamily: CPU_X64_XS", "instanceFamily: CPU_X64_S"),
    "Database": ("DATABASES", ("d0", "d1"), {"options": ""}, "", "transient: true"),
    "Schema": ("SCHEMAS", ("d0.s0", "d0.s1", "d1.s0"), {"options": ""}, "", "transient: true"),
    "Stage": ("STAGES", ("d0.s0.t0", "d0.s1.t0", "d1.s0.t0", "d0.s0.t1"), STAGE, "", "encryption: SNOWFLAKE_FULL"),
    "ImageRepository": ("IMAGE REPOSITORIES", ("d0.s0.r0", "d1.s0.r0"), {"encryption": "SNOWFLAKE_FULL"}, "", "encryption: SNOWFLAKE_SSE"),
}
KEEPS_DATA = {"Database", "Schema", "Stage", "ImageRepository"}
WHOSE = ("nobody", "theirs", "rival", "ours, kept", "ours, may go", "ours, half a mark")


@dataclass(frozen=True)
class Wanted:
    """One manifest's choices."""

    adopt: bool
    replace: bool
    delete: bool | None
    policy: str
    other_spec: bool

    def text(self, kind: str, name: str) -> str:
        parts = name.split(".")
        place = {2: f", database: {parts[0]}", 3: f", schema: {'.'.join(parts[:2])}"}.get(len(parts), "")
        more = f", adopt: {str(self.adopt).lower()}, managementPolicy: {self.policy}, replace: {'allowed' if self.replace else 'never'}"
        if self.delete is not None:
            more += f", deletionPolicy: {'delete' if self.delete else 'orphan'}"
        spec = PLACES[kind][4 if self.other_spec else 3]
        return f"kind: {kind}\nmetadata: {{name: {parts[-1]}{place}{more}}}\nspec: {{{spec}}}"

    def lets_go(self, kind: str) -> bool:
        return self.policy == "full" and (self.delete if self.delete is not None else kind not in KEEPS_DATA)


ALL = [(kind, name) for kind, (_, names, *_) in PLACES.items() for name in names]
WANTED = st.builds(
    Wanted,
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, True, False]),
    st.sampled_from(["full", "full", "observe", "orphan"]),
    st.booleans(),
)
MANIFESTS = st.dictionaries(st.sampled_from(ALL), WANTED, min_size=1, max_size=8)
ROWS = st.dictionaries(st.sampled_from(ALL), st.sampled_from(WHOSE), max_size=12)


class Scoped(Account):
    """Answers as the account does: only what lives in the scope that was asked for."""

    def ask(self, reads: Any) -> dict[Any, Any]:
        return {read: _inside(rows, read) if isinstance(read, Show) else rows for read, rows in super().ask(reads).items()}


def _inside(rows: tuple[Row, ...], read: Show) -> tuple[Row, ...]:
    where, _, scope = read.scope.partition(" ")
    if where not in ("DATABASE", "SCHEMA"):
        return rows
    columns = ("database_name", "schema_name")
    return tuple(row for row in rows if all(row.get(c, p) == p for c, p in zip(columns, scope.split("."), strict=False)))


def comment_of(kind: str, name: str, whose: str) -> str | None:
    last = name.split(".")[-1]
    return {
        "nobody": None,
        "theirs": "made by hand",
        "rival": mark(kind, last, "rival", delete="yes"),
        "ours, kept": mark(kind, last),
        "ours, may go": mark(kind, last, delete="yes"),
        "ours, half a mark": f"[snowcat proj/{kind}/{last} delete=yes",
    }[whose]


def ours(whose: str) -> bool:
    return whose in ("ours, kept", "ours, may go")


def named(change: Change) -> tuple[str, str]:
    return change.key.kind, change.key.name.sql.lower()


def drops(change: Change) -> bool:
    return any(statement.startswith("DROP ") for statement in change.statements)


@given(rows=ROWS, manifests=MANIFESTS, share=st.sampled_from([0.0, 0.3, 1.0]))
def test_nothing_foreign_is_touched(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[tuple[str, str], str], manifests: dict[tuple[str, str], Wanted], share: float
) -> None:
    plan = planned(tmp_path_factory, rows, manifests, share)
    for change in plan.changes:
        whose, wanted = rows.get(named(change), "absent"), manifests.get(named(change))
        if not change.steps or whose == "absent":
            continue
        taken = wanted is not None and wanted.adopt and whose in ("nobody", "theirs", "ours, half a mark")
        assert ours(whose) or taken, f"{change.key} is not ours"
        assert wanted is None or wanted.policy != "observe", f"{change.key} is only observed"
        if drops(change):
            assert ours(whose), f"{change.key} is adopted, and adoption never replaces"
            assert whose == "ours, may go" if wanted is None else wanted.replace and wanted.lets_go(change.key.kind)


@given(rows=ROWS, manifests=MANIFESTS)
def test_no_container_goes_with_what_must_stay(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[tuple[str, str], str], manifests: dict[tuple[str, str], Wanted]
) -> None:
    plan = planned(tmp_path_factory, rows, manifests, 1.0)
    for change in plan.changes:
        if not drops(change) or change.key.kind not in ("Database", "Schema"):
            continue
        for (kind, name), whose in rows.items():
            if not name.startswith(named(change)[1] + "."):
                continue
            wanted = manifests.get((kind, name))
            assert ours(whose), f"{change.key} would take {kind}/{name} along, which is {whose}"
            if wanted is None:
                assert whose == "ours, may go", f"{change.key} would take {kind}/{name} along, which is kept"
            else:
                assert wanted.lets_go(kind), f"{change.key} would take {kind}/{name} along, whose manifest keeps it"


@given(rows=ROWS, manifests=MANIFESTS, share=st.floats(0, 1))
def test_no_more_than_the_share_goes_at_once(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[tuple[str, str], str], manifests: dict[tuple[str, str], Wanted], share: float
) -> None:
    plan = planned(tmp_path_factory, rows, manifests, share)
    marked = sum(ours(whose) for whose in rows.values())
    pruned = [change for change in plan.changes if change.action is Action.DELETE]
    assert len(pruned) <= max(2, share * marked)


def planned(
    factory: pytest.TempPathFactory, rows: dict[tuple[str, str], str], manifests: dict[tuple[str, str], Wanted], share: float
) -> Plan:
    text = "\n---\n".join(wanted.text(kind, name) for (kind, name), wanted in manifests.items())
    project = "apiVersion: snowcat/v1\nkind: Project\nproject: proj\nrole: worker\nexisting:\n"
    folder = factory.mktemp("w")
    (folder / "snowcat.yaml").write_text(project + "".join(f"- {kind}/{name}\n" for kind, name in ALL if (kind, name) not in manifests))
    world = World(write(folder, all=text), account=Scoped(), rules=Rules(share=share))
    for (kind, name), whose in rows.items():
        plural, _, columns, *_ = PLACES[kind]
        world.account.put(plural, name, comment_of(kind, name, whose), **columns)
    plan = world.plan()
    assert not world.load().errors, "the manifests are valid"
    return plan
