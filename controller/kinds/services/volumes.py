"""Block volumes: what cannot be changed of them, and what dropping their service does.

DROP SERVICE fails for a service with block volumes unless FORCE is said, and then the volumes are gone. Snowflake takes a snapshot of
each before that, unless `snapshotOnDelete` is false. What will happen is kept in the mark (`blocks=`), since the manifest may be gone when
the service is dropped.

Source: docs.snowflake.com, developer-guide/snowpark-container-services/block-storage-volume; sql-reference/sql/drop-service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controller.account import statements as sql
from controller.api.names import QualifiedName
from controller.kinds.base import FieldChange, Sql
from controller.kinds.mark import Mark
from controller.kinds.services.comparison import Document, amount

GONE = frozenset({2003, 2043})
_LOST = "lost"
_FIXED = ("size", "blockConfig.iops", "blockConfig.throughput", "blockConfig.encryption")
_WAY_OUT = (
    "put the old value back; or save the data (CREATE SNAPSHOT), set metadata.replace: allowed with deletionPolicy: delete, and let "
    "blockConfig.initialContents.fromSnapshot fill the new volume"
)


def block_volumes(document: Mapping[str, Any]) -> list[Document]:
    return [one for one in (document.get("spec") or {}).get("volumes") or [] if one.get("source") == "block"]


def blocks_note(document: Mapping[str, Any]) -> str:
    """The attribute of the mark: `` without block volumes, `lost`, or how long the snapshots of a drop are kept."""
    configs = [one.get("blockConfig") or {} for one in block_volumes(document)]
    if not configs:
        return ""
    if any(config.get("snapshotOnDelete") is False for config in configs):
        return _LOST
    return str(min((config.get("snapshotDeleteAfter", "7d") for config in configs), key=_hours))


def _hours(text: Any) -> int:
    number, unit = int(str(text)[:-1]), str(text)[-1]
    return number * (24 if unit == "d" else 1)


def fixed_changes(wanted: Document, seen: Document) -> Iterable[FieldChange]:
    """What differs and is fixed when the service is made: the set of block volumes, their sizes, speeds and encryption.

    Where the manifest leaves speed or encryption open, what is there is right.
    """
    mine, theirs = ({str(one.get("name")): one for one in block_volumes(document)} for document in (wanted, seen))
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        path = f"specification.spec.volumes.{name}"
        if name not in mine or name not in theirs:
            here, there = ("absent" if name not in side else "block volume" for side in (mine, theirs))
            yield FieldChange(path, there, here, immutable=True, way_out=_WAY_OUT)
            continue
        for key in _FIXED:
            one, other = _at(mine[name], key), _at(theirs[name], key)
            same = amount(one) == amount(other) if key == "size" else str(one) == str(other)
            if one is not None and not same:
                yield FieldChange(f"{path}.{key}", other, one, immutable=True, way_out=_WAY_OUT)


def _at(part: Document, path: str) -> Any:
    value: Any = part
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def drop(service: QualifiedName, mark: Mark | None) -> Sql:
    """DROP SERVICE; with FORCE for block volumes, and only where the mark carries the manifest's permission to delete."""
    blocks = mark.attributes.get("blocks", "") if mark is not None else ""
    text = sql.drop("SERVICE", service)
    if mark is None or not blocks or mark.attributes.get("delete") != "yes":
        return Sql(text, tolerate=GONE)
    text += " FORCE"
    if blocks == _LOST:
        told = "the data of its block volumes is lost: snapshotOnDelete is false"
    else:
        told = f"a snapshot of each block volume is kept for {blocks}"
    return Sql(text, display=f"{text} -- {told}", tolerate=GONE)
