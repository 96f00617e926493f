"""What a plan of many objects must not do once for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reconcile_world import POOL, WAREHOUSE, World, mark, warehouse, write

from controller.api.objects import DesiredObject, Graph
from controller.kinds import mark as mark_module
from controller.kinds.mark import split_comment

POOLS, WAREHOUSES = 6, 6


@pytest.fixture
def world(tmp_path: Path) -> World:
    pools = [f"kind: ComputePool\nmetadata: {{name: pool_{n}}}\nspec: {{instanceFamily: CPU_X64_XS}}" for n in range(POOLS)]
    world = World(write(tmp_path, all="\n---\n".join([*pools, *(warehouse(f"wh_{n}") for n in range(WAREHOUSES))])))
    for n in range(POOLS):
        world.account.put("COMPUTE POOLS", f"pool_{n}", mark("ComputePool", f"pool_{n}", delete="yes"), **POOL)
    for n in range(WAREHOUSES):
        world.account.put("WAREHOUSES", f"wh_{n}", mark("Warehouse", f"wh_{n}", delete="yes"), **WAREHOUSE)
    return world


def test_the_objects_of_a_kind_are_looked_for_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    through: list[int] = []
    asked: list[str] = []
    whole, some = Graph.__iter__, Graph.of_kind

    def iterate(graph: Graph) -> Iterator[DesiredObject]:
        through.append(id(graph))
        return whole(graph)

    def of_kind(graph: Graph, kind: str) -> list[DesiredObject]:
        before = len(through)
        found = some(graph, kind)
        if len(through) > before:
            asked.append(kind)
        return found

    monkeypatch.setattr(Graph, "__iter__", iterate)
    monkeypatch.setattr(Graph, "of_kind", of_kind)
    assert world.plan().empty
    assert len(asked) <= 2, f"for each graph once, and not for each of {POOLS} pools: {asked}"


def test_what_of_kind_gives_is_the_caller_s_own() -> None:
    graph = Graph({})
    graph.of_kind("Stage").append(None)  # type: ignore[arg-type]
    assert graph.of_kind("Stage") == []


def test_a_comment_is_taken_apart_once(world: World) -> None:
    split_comment.cache_clear()
    assert world.plan().empty
    first = split_comment.cache_info()
    assert (first.misses, first.hits > first.misses) == (POOLS + WAREHOUSES, True)
    assert world.plan().empty
    assert split_comment.cache_info().misses == first.misses, "the next plan knows them all"
    assert first.maxsize == mark_module._REMEMBERED >= 4000
