"""Whatever valid manifest: what CREATE makes of it is what the manifest wants, and UPDATE leads from any to any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds_account import Account
from kinds_project import graph_of

from controller.account.pool import SessionPool
from controller.api.warehouse import WarehouseSpec
from controller.kinds.instance_families import FAMILIES

Pair = tuple[str, dict[str, Any], dict[str, Any]]
"""A kind and two specs of it."""

COMMENT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40).map(str.strip)
FAMILY = st.sampled_from(sorted(FAMILIES))
HOST = st.from_regex(r"[a-z][a-z0-9-]{0,10}\.(com|org|io)(:(8443|443|8080))?", fullmatch=True)


@st.composite
def pools(draw: st.DrawFn, family: str | None = None) -> dict[str, Any]:
    least = draw(st.integers(1, 3))
    first = family or draw(FAMILY)
    return {
        "instanceFamily": first,
        "minNodes": least,
        "maxNodes": least + draw(st.integers(0, 3)),
        "autoSuspendSeconds": draw(st.integers(0, 100_000)),
        "autoResume": draw(st.booleans()),
        "initiallySuspended": True,  # no nodes are started for a test of columns
        "backupInstanceFamilies": draw(st.lists(FAMILY.filter(lambda name: name != first), unique=True, max_size=2)),
        "comment": draw(COMMENT),
    }


WAREHOUSES = st.fixed_dictionaries(
    {
        "size": st.sampled_from(["xsmall", "SMALL", "X-Large", "xxlarge", "x4large"]),
        "autoSuspend": st.integers(0, 100_000),
        "autoResume": st.booleans(),
        "comment": COMMENT,
    }
)
CONTAINERS = st.fixed_dictionaries({"comment": COMMENT}, optional={"dataRetentionDays": st.integers(0, 90)})
RULES = st.fixed_dictionaries({"values": st.lists(HOST, min_size=1, max_size=6, unique=True), "comment": COMMENT})
STAGES = st.fixed_dictionaries({"encryption": st.just("SNOWFLAKE_SSE"), "directory": st.booleans(), "comment": COMMENT})
WORDS = st.text("ab'\\ $%", max_size=12).map(lambda text: {"command": ["printf", "%s", text + "."]})
SECRETS = st.fixed_dictionaries({"valueFrom": WORDS, "comment": COMMENT})
REPOSITORIES = st.fixed_dictionaries({"comment": COMMENT})
PAIRS = st.one_of(
    st.tuples(st.just("ComputePool"), pools("CPU_X64_S"), pools("CPU_X64_M")),
    *(
        st.tuples(st.just(kind), specs, specs)
        for kind, specs in (
            ("Warehouse", WAREHOUSES),
            ("Database", CONTAINERS),
            ("Schema", CONTAINERS),
            ("NetworkRule", RULES),
            ("Stage", STAGES),
            ("Secret", SECRETS),
            ("ImageRepository", REPOSITORIES),
        )
    ),
)
PLACE = {"Schema": {"database": "db"}, **{kind: {"schema": "db.sch"} for kind in ("NetworkRule", "Stage", "Secret", "ImageRepository")}}
NAMES = {"ComputePool": "any_name", "ImageRepository": "any_name"}


@pytest.fixture
def account(pool: SessionPool, tmp_path: Path) -> Account:
    own = Account(pool, tmp_path)
    own.run("CREATE DATABASE IF NOT EXISTS DB", "CREATE SCHEMA IF NOT EXISTS DB.SCH")
    return own


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pair=PAIRS)
def test_from_nothing_to_any_and_on_to_any_other(
    pair: tuple[str, dict[str, Any], dict[str, Any]], account: Account, tmp_path: Path
) -> None:
    kind, first, second = pair
    metadata = {"name": NAMES.get(kind, '"An odd.name"'), **PLACE.get(kind, {})}
    made = None
    try:
        for spec in (first, second):
            manifest = {"apiVersion": "snowcat/v1", "kind": kind, "metadata": metadata, "spec": spec}
            graph = graph_of(tmp_path, yaml.safe_dump(manifest, allow_unicode=True), whole=True)
            (obj,) = graph.of_kind(kind)
            if made is None:
                account.create(obj, graph)
                made = obj.key
            else:
                account.update(obj, graph)
            seen = account.observe(obj, graph)
            if kind == "ComputePool" and {change.path for change in seen.drift} == {"mark"}:
                account.update(obj, graph)
                seen = account.observe(obj, graph)
            assert (seen.exists, seen.drift) == (True, ())
            assert account.update(obj, graph) == [], "nothing is sent twice"
    finally:
        if made is not None:
            account.delete(made, graph)


def test_a_comment_that_cannot_be_stored_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="NUL"):
        WarehouseSpec(comment="a\0b")
