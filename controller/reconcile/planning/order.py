"""The order of things: what is made before what, and what is dropped before what.

Making follows the graph's references. Dropping is its reverse, and what lives in a container goes before the container even when no
manifest says so any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from operator import attrgetter

from controller.api.objects import Graph, ObjectKey

_CONTAINERS = frozenset({"Database", "Schema"})


def drop_order(keys: Collection[ObjectKey], graph: Graph) -> list[ObjectKey]:
    """Keys so that each stands after all that depends on it or lives in it."""
    return _sorted(goes_before(keys, graph))


def goes_before(keys: Collection[ObjectKey], graph: Graph) -> dict[ObjectKey, set[ObjectKey]]:
    """For each key those that must be dropped before it: what lives in it, and what depends on it, also by way of objects that are not
    among the keys, as a service does on the repository of its image."""
    users: dict[ObjectKey, set[ObjectKey]] = {}
    for obj in graph:
        for needed in obj.depends_on:
            users.setdefault(needed, set()).add(obj.key)
    result: dict[ObjectKey, set[ObjectKey]] = {}
    for key in keys:
        result[key] = {other for other in keys if inside(other, key)}
        seen, todo = {key}, [key]
        while todo:
            for user in users.get(todo.pop(), set()) - seen:
                seen.add(user)
                if user in keys:
                    result[key].add(user)
                else:
                    todo.append(user)
    return result


def inside(key: ObjectKey, container: ObjectKey) -> bool:
    """Whether an object lives in a database or schema, by its full name."""
    if container.kind not in _CONTAINERS or key == container:
        return False
    inner, outer = key.name.parts, container.name.parts
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def evaluation_order(graph: Graph) -> list[ObjectKey]:
    """Keys so that each stands after all it depends on, and a composite after its children, since it is ready when they are.

    Ties go by name, so that the order is the same every time.
    """
    needs = {key: set(obj.depends_on) - {obj.parent} for key, obj in graph.objects.items()}
    for key, obj in graph.objects.items():
        if obj.parent in needs:
            needs[obj.parent].add(key)
    return _sorted(needs)


_rank = attrgetter("rank")


def _sorted(before: Mapping[ObjectKey, Collection[ObjectKey | None]]) -> list[ObjectKey]:
    """Topological order with ties by key. What is in no key's own entry is left out.

    Two objects may each name the other once children have been added to a graph that had no cycle; then the order is by key, and the
    account's own answers sort it out.
    """
    sorter: TopologicalSorter[ObjectKey] = TopologicalSorter(
        {key: sorted((n for n in before[key] if n is not None and n in before), key=_rank) for key in sorted(before, key=_rank)}
    )
    try:
        sorter.prepare()
    except CycleError:
        return sorted(before, key=_rank)
    result: list[ObjectKey] = []
    while sorter.is_active():
        layer = sorted(sorter.get_ready(), key=_rank)
        result.extend(layer)
        sorter.done(*layer)
    return result
