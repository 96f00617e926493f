"""How a plan reads: on a terminal, as SQL, as a comment of a pull request."""

from __future__ import annotations

import re

import pytest

from controller.account.redact import redact
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.cli.plan_forms import COMMENT_LIMIT, change_lines, folded, markdown, plan_lines, sql_lines, summary
from controller.kinds.base import FieldChange, Sql
from controller.reconcile.planning.change import Action, Block, Change, Cost, ObjectPlan, Plan


def key(kind: str, name: str) -> ObjectKey:
    return ObjectKey(kind, QualifiedName.parse(name))


def a_plan(*changes: Change) -> Plan:
    return Plan("lab", "prod", {change.key: ObjectPlan(change.key, None, None, change) for change in changes})


DOCUMENT = "spec:\n" + "".join(f"  line{n}: {n}\n" for n in range(30))
SERVICE = Change(
    key("Service", "d.s.web"),
    Action.CREATE,
    steps=(Sql(f"CREATE SERVICE D.S.WEB\n  FROM SPECIFICATION $$\n{DOCUMENT}$$\n  MIN_INSTANCES = 1"),),
)
POOL = Change(
    key("ComputePool", "pool"),
    Action.UPDATE,
    (FieldChange("maxNodes", 1, 4), FieldChange("autoResume", True, False)),
    (Sql("ALTER COMPUTE POOL POOL SET MAX_NODES = 4 AUTO_RESUME = FALSE"),),
    "maxNodes, autoResume differ",
    cost=Cost(0.06, 0.06),
)
DROP = Change(
    key("ComputePool", "old"), Action.DELETE, steps=(Sql("DROP COMPUTE POOL OLD"),), reason="in no manifest any more", destructive=True,
    cost=Cost(0.22, 0.0),
)  # fmt: skip
SWAP = Change(
    key("Stage", "d.s.files"),
    Action.REPLACE,
    (FieldChange("encryption", "SNOWFLAKE_FULL", "SNOWFLAKE_SSE", immutable=True),),
    (Sql("DROP STAGE D.S.FILES"), Sql("CREATE STAGE D.S.FILES")),
    "encryption cannot be changed in place",
    destructive=True,
)
NEW = Change(key("ComputePool", "new"), Action.CREATE, steps=(Sql("CREATE COMPUTE POOL NEW"),), cost=Cost(0.0, None))
KEPT = Change(
    key("Stage", "d.s.kept"), Action.BLOCKED, reason="in no manifest any more, and kept", block=Block.HELD, block_reason="Orphaned"
)
STUCK = Change(key("Secret", "d.s.t"), Action.BLOCKED, reason="no value | for @ann <b>", block=Block.STALLED)
PLAN = a_plan(SERVICE, POOL, DROP, SWAP, NEW, KEPT, STUCK)


def test_what_is_lost_is_marked_in_every_form() -> None:
    table = "\n".join(plan_lines(PLAN))
    assert "- delete   ComputePool/old  DESTRUCTIVE  in no manifest any more" in table
    assert "± replace  Stage/files  DESTRUCTIVE" in table
    assert "DESTRUCTIVE: Stage/files would be dropped and made again" in table
    assert table.splitlines()[-1].startswith("2 to create, 1 to update, 1 to replace, 1 to delete, 1 left alone, 1 blocked. DESTRUCTIVE: 2")
    script = "\n".join(sql_lines(PLAN))
    assert "-- delete ComputePool/old: in no manifest any more\n-- DESTRUCTIVE: what it holds is lost\nDROP COMPUTE POOL OLD;" in script
    comment = markdown(PLAN)
    assert comment.index("[!CAUTION]") < comment.index("| object |") and "⚠ **replace**" in comment and "⚠ **delete**" in comment
    rows = {change["object"]: change["destructive"] for change in PLAN.as_dict()["changes"]}
    assert [name for name, lost in rows.items() if lost] == ["ComputePool/old", "Stage/files"]


def test_rates_that_are_not_known_are_said_and_not_counted() -> None:
    said = summary(PLAN)
    assert "Credits per hour: 0.28 → 0.06, and an unknown rate of ComputePool/new" in said
    assert PLAN.as_dict()["cost"] == {"before": 0.28, "after": 0.06, "unknown": ["ComputePool/new"]}
    assert "credits per hour: 0 → unknown" in "\n".join(change_lines(NEW))
    assert "Credits per hour: unknown (ComputePool/new)" in summary(a_plan(NEW))
    assert "Credits" not in summary(a_plan(SERVICE))
    assert "| | **sum** | | 0.28 → 0.06 |" in markdown(PLAN)


def test_documents_are_folded_on_a_terminal_and_whole_elsewhere() -> None:
    short = list(change_lines(SERVICE))
    assert len(short) == 4 and "FROM SPECIFICATION $$ … 31 lines (--full shows them) … $$" in short[2]
    assert len(list(change_lines(SERVICE, full=True))) > 30
    assert "line29: 29" in "\n".join(sql_lines(PLAN)) and "line29: 29" in markdown(PLAN)
    assert len(folded("\n".join(f"line {n}" for n in range(40)))) == 12


def test_what_stays_comes_after_what_is_done() -> None:
    lines = list(plan_lines(PLAN))
    assert next(i for i, line in enumerate(lines) if "kept " in line) > next(i for i, line in enumerate(lines) if "Secret/t" in line)
    assert "Left alone (1)" in markdown(PLAN)


def test_a_comment_mentions_nobody_and_breaks_no_table() -> None:
    comment = markdown(PLAN)
    (row,) = [line for line in comment.splitlines() if "`Secret/t`" in line]
    assert row.count(" | ") == 3 and "no value \\| for @<!-- -->ann &lt;b>" in row
    odd = Change(key("Stage", "d.s.x"), Action.UPDATE, (FieldChange("comment", "a|b", "`tick` ```"),), (Sql("COMMENT '```sql'"),))
    text = markdown(a_plan(odd))
    (row,) = [line for line in text.splitlines() if "`Stage/x`" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert [line for line in text.splitlines() if line.startswith("````")] == ["````sql", "````"]


@pytest.mark.parametrize(("count", "size"), [(30, 200), (400, 1000), (3000, 100), (30, 40_000)])
def test_a_comment_fits_into_github(count: int, size: int) -> None:
    changes = [
        Change(
            key("Stage", f"d.s.st{n}"), Action.CREATE, steps=(Sql(f"CREATE STAGE ST{n} COMMENT = '{'ü' * size}'"),), reason="does not exist"
        )
        for n in range(count)
    ]
    comment = markdown(a_plan(DROP, *changes))
    assert len(comment) <= COMMENT_LIMIT and len(comment.encode()) <= COMMENT_LIMIT
    assert f"{count} to create" in comment and "**delete** `ComputePool/old`" in comment
    assert comment.count("<details>") == comment.count("</details>") and comment.count("```") % 2 == 0
    left = count * (size * 2 + 200) > COMMENT_LIMIT
    assert ("do not fit" in comment or "does not fit" in comment) is left


def test_no_secret_is_printed() -> None:
    redact.learn(["tell-nobody-4711"])
    leaky = Change(
        key("Stage", "d.s.x"), Action.UPDATE, (FieldChange("comment", "", "tell-nobody-4711"),), (Sql("SET 'tell-nobody-4711'"),)
    )
    assert "4711" not in markdown(a_plan(leaky))
