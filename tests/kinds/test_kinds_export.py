"""What was made by hand comes back as manifests that plan nothing, and taken over it gets a mark and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import pytest
import strategies_simple as simple
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_round_trip import Trip, told, trip
from strategies_common import over_the_wire

from controller.account.connections import Connection
from controller.account.reader import read
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.cli.export import manifest_text
from controller.kinds.base import Sql
from controller.kinds.registry import KINDS
from controller.reconcile.export import Export, Exported, Exporter
from controller.reconcile.planning.change import Action, Plan

MARK = re.compile(r"\s*\[snowcat [^\]]*\](?=')")
FEW = settings(over_the_wire, max_examples=max(1, over_the_wire.max_examples // 4))


def make_by_hand(made: Trip, documents: Collection[Any]) -> list[ObjectKey]:
    """The objects of these manifests, made by the same statements without a mark, as a person would have."""
    made.write(documents)
    now = made.plan()
    for change in now.pending:
        made.by_hand(*(MARK.sub("", step.text) for step in change.steps if isinstance(step, Sql)))
        made._made[change.key] = None
    return [change.key for change in now.pending]


def exported(made: Trip, keys: Collection[ObjectKey], *, adopt: bool, project: str = "proj") -> Export:
    wanted: Callable[[ObjectKey], bool] = lambda key: key in keys  # noqa: E731
    return Exporter(KINDS, lambda reads: read(made.pool, reads), project, adopt, wanted).run()


def plan_of(made: Trip, export: Export) -> Plan:
    made.settings["existing"] = sorted({*made.settings["existing"], *export.existing})
    made.write([{k: v for k, v in one.document.items() if k != "apiVersion"} for one in export.objects])
    return made.plan()


@pytest.mark.parametrize("kind", simple.BY_KIND)
@FEW
@given(data=st.data())
def test_what_was_made_by_hand_plans_nothing(kind: str, data: st.DataObject, account: Connection) -> None:
    documents = data.draw(simple.BY_KIND[kind])
    for document in documents:  # nobody may change what is only looked at, and what is taken over must be comparable
        document["metadata"] = {key: value for key, value in document["metadata"].items() if key in ("name", "schema", "database")}
    with trip(account) as made:
        keys = make_by_hand(made, documents)
        observed = exported(made, keys, adopt=False)
        assert {one.key for one in observed.objects} == set(keys), observed.left_out
        plan = plan_of(made, observed)
        assert plan.empty and not any(change.fields for change in plan.changes), told(plan)
        adopted = plan_of(made, exported(made, keys, adopt=True))
        assert {change.action for change in adopted.changes} <= {Action.NONE, Action.ADOPT}, told(adopted)
        for change in adopted.pending:
            assert not change.fields and len(change.statements) == 1 and "[snowcat proj/" in change.statements[0], told(adopted)
        assert made.apply().empty
        again = plan_of(made, exported(made, keys, adopt=False))  # now it is ours, with the rules that its mark remembers
        assert again.empty and {change.action for change in again.changes} == {Action.NONE}, told(again)


def test_no_value_of_a_secret_and_nothing_of_snowflake_is_exported(account: Connection) -> None:
    with trip(account) as made:
        made.write([])
        made.by_hand("CREATE OR REPLACE SECRET DB.SCH.PW TYPE = PASSWORD USERNAME = 'ann' PASSWORD = 'do-not-tell-anyone'")
        everything = Exporter(KINDS, lambda reads: read(made.pool, reads)).run()
    text = str([one.document for one in everything.objects])
    assert "do-not-tell-anyone" not in text and "DB_SCH_PW" in text
    names = {str(one.key.name) for one in everything.objects}
    assert not {name for name in names if name.startswith(("SNOWFLAKE", "SYSTEM", "ACCOUNTADMIN"))}
    assert not {one.key for one in everything.objects if one.key.name.parts[0].text == "SNOWFLAKE"}


def test_the_whole_account_can_be_looked_at_as_one_project(account: Connection) -> None:
    """References among what is exported, and to what is not, resolve."""
    with trip(account) as made:
        made.write([])
        made.by_hand(
            "CREATE NETWORK RULE DB.SCH.R1 TYPE = HOST_PORT MODE = EGRESS VALUE_LIST = ('a.com')",
            "CREATE EXTERNAL ACCESS INTEGRATION E1 ALLOWED_NETWORK_RULES = (DB.SCH.R1) ENABLED = TRUE",
            "CREATE ROLE BY_HAND",
            "GRANT USAGE ON DATABASE DB TO ROLE BY_HAND",
            "GRANT CREATE STAGE ON SCHEMA DB.SCH TO ROLE BY_HAND",
            "GRANT ROLE BY_HAND TO ROLE SYSADMIN",
        )
        try:
            everything = Exporter(KINDS, lambda reads: read(made.pool, reads)).run()
            made.settings["existing"] = list(everything.existing)
            plan = plan_of(made, everything)
        finally:
            made.by_hand("DROP ROLE BY_HAND", "DROP INTEGRATION E1", "DROP NETWORK RULE DB.SCH.R1")
    assert plan.empty, told(plan)
    (role,) = [one.document for one in everything.objects if str(one.key) == "Role/by_hand"]
    assert role["spec"]["grantedTo"] == {"roles": ["sysadmin"]}
    assert {"on": {"kind": "Schema", "name": "db.sch"}, "privileges": ["CREATE STAGE"]} in role["spec"]["privileges"]


def test_the_files_say_what_is_meant() -> None:
    """A text that would be taken for a value of the project is escaped."""
    one = Exported(ObjectKey("Stage", QualifiedName.parse("d.s.x")), {"kind": "Stage", "spec": {"comment": "${a}"}}, ("look",))
    assert manifest_text(one).startswith("# look\n")
    assert yaml.safe_load(manifest_text(one))["spec"]["comment"] == "$${a}"
