"""The first pass of what only DESCRIBE tells: as many at a time as allowed, and nothing else is asked or planned for it."""

from __future__ import annotations

from collections import Counter

import pytest
from reconcile_live import Live

from controller.account.counters import Counters, StatementClass
from controller.account.snapshot import Describe
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.meter import Meter
from controller.reconcile.planning.plan import plan

DATABASE = """
    kind: Database
    metadata: {name: db_@, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db_@, deletionPolicy: delete}
"""
RULES = 23
BUDGET = 5


class Cycles(Meter):
    """How many statements of each class every cycle sent."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._before = Counter(counters.by_class)
        self.each: list[Counter[StatementClass]] = []

    def cycled(self, seconds: float) -> None:
        now = Counter(self._counters.by_class)
        self.each.append(now - self._before)
        self._before = now


def test_details_are_read_on_without_looking_and_planning_each_time(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "\n    kind: NetworkRule\n    metadata: {name: rule_%d, schema: db_@.sch}\n    spec: {values: [host%d.example.com]}\n"
    live.write(a=DATABASE, b="    ---".join(rule % (n, n) for n in range(RULES)))
    assert live.apply().ready
    settings = (live.folder / "snowcat.yaml").read_text()
    (live.folder / "snowcat.yaml").write_text(settings + f"deepReads: {BUDGET}\n")
    live.by_hand("ALTER NETWORK RULE db_@.sch.rule_22 SET VALUE_LIST = ('by.hand.example.com')")

    plans: list[int] = []
    real = plan
    monkeypatch.setattr("controller.reconcile.engine.plan", lambda *args, **more: plans.append(1) or real(*args, **more))  # type: ignore[func-returns-value]
    meter = Cycles(live.pool.counters)
    assert live.reconciler(meter=meter).run(until_settled=True, timeout=3000).ready

    described = [cycle[StatementClass.DESCRIBE] for cycle in meter.each]
    assert described[:5] == [5, 5, 5, 5, 3], "a first pass is read in one go"
    assert max(described) == BUDGET, "and never more at once than allowed"
    assert [cycle[StatementClass.SHOW] for cycle in meter.each[1:5]] == [0, 0, 0, 0], "what a look has shown is not asked again for it"
    assert 0 < len(plans) <= len(meter.each) - 4, "and nothing is planned until all is read"
    values = live.sql("DESCRIBE NETWORK RULE db_@.sch.rule_22")[0]["value_list"]
    assert values == "host22.example.com", "what was changed by hand is found by it"


def test_it_ends_also_where_nobody_answers() -> None:
    deep = DeepReads(budget=2)
    keys = [ObjectKey("NetworkRule", QualifiedName.parse(f"db.s.r{n}")) for n in range(5)]
    wanted = {key: (Describe("NETWORK RULE", key.name.sql),) for key in keys}
    deep.look(wanted, dict.fromkeys(keys, "a"), lambda _: {}, full=True)
    assert [deep.read_on(lambda _: {}), deep.read_on(lambda _: {}), deep.unread] == [True, False, 0]
