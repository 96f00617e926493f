"""The order of things: what is made before what, and what is dropped before what.

Making follows the graph's references. Dropping is its reverse, and what lives in a container goes before the container even when no
manifest says so any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

from controller.api.objects import Graph, ObjectKey

_CONTAINERS = frozenset({"Database", "Schema"})


def creation_order(graph: Graph) -> list[ObjectKey]:
    """Keys so that each stands after all it depends on; ties by name, so that the order is the same every time."""
    return _sorted({key: obj.depends_on for key, obj in graph.objects.items()})


def drop_order(keys: Collection[ObjectKey], graph: Graph) -> list[ObjectKey]:
    """Keys so that each stands after all that depends on it or lives in it."""
    before: dict[ObjectKey, set[ObjectKey]] = {key: set() for key in keys}
    for key in keys:
        obj = graph.get(key)
        for needed in obj.depends_on if obj else ():
            if needed in before and needed != key:
                before[needed].add(key)
    for container in keys:
        before[container] |= {key for key in keys if inside(key, container)}
    return _sorted(before)


def inside(key: ObjectKey, container: ObjectKey) -> bool:
    """Whether an object lives in a database or schema, by its full name."""
    if container.kind not in _CONTAINERS or key == container:
        return False
    inner, outer = key.name.parts, container.name.parts
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def evaluation_order(graph: Graph) -> list[ObjectKey]:
    """As `creation_order`, but a composite stands after its children, since it is ready when they are."""
    needs = {key: set(obj.depends_on) - {obj.parent} for key, obj in graph.objects.items()}
    for key, obj in graph.objects.items():
        if obj.parent in needs:
            needs[obj.parent].add(key)
    return _sorted(needs)


def _sorted(before: Mapping[ObjectKey, Collection[ObjectKey | None]]) -> list[ObjectKey]:
    """Topological order with ties by key. What is in no key's own entry is left out.

    Two objects may each name the other once children have been added to a graph that had no cycle; then the order is by key, and the
    account's own answers sort it out.
    """
    sorter: TopologicalSorter[ObjectKey] = TopologicalSorter(
        {key: sorted(n for n in needs if n is not None and n in before) for key, needs in sorted(before.items())}
    )
    try:
        sorter.prepare()
    except CycleError:
        return sorted(before)
    result: list[ObjectKey] = []
    while sorter.is_active():
        layer = sorted(sorter.get_ready())
        result.extend(layer)
        sorter.done(*layer)
    return result
