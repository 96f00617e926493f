"""A manifest's specification against the text that DESCRIBE SERVICE shows of it.

DESCRIBE returns a normalised text: an order of its own, an added `sha256` for each container, images with or without the registry's host,
numbers of `env` as text, `resources` filled in by rules and capped at what a node has. Both sides are brought to one form here. What the
manifest leaves open is the default: what a person put in its place by hand is a difference, what the service filled in is none.

Source: docs.snowflake.com, sql-reference/sql/desc-service; developer-guide/snowpark-container-services/specification-reference.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from controller.api.names import QualifiedName
from controller.api.specification import Specification
from controller.kinds.base import FieldChange
from controller.kinds.instance_families import Family

Document = dict[str, Any]

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "endpoints": {"public": False, "protocol": "HTTP"},
    "readinessProbe": {"periodSeconds": 5, "failureThreshold": 3},
    "livenessProbe": {"periodSeconds": 10, "failureThreshold": 3},
    "sessionTokenConfig": {"permission": "0644", "mountConnectionConfig": False},
    "eventTableConfig": {"logLevel": "INFO"},
    "securityContext": {"executeAsCaller": False, "enableCustomCredentials": False},
    "blockConfig": {"snapshotOnDelete": True, "snapshotDeleteAfter": "168h"},
}
_STAGE_DEFAULTS = {"requests": {"cpu": "0", "memory": "0.5Gi"}, "limits": {"cpu": "0.5", "memory": "1Gi"}}
_LEAST = {"cpu": 0.5, "memory": 0.5 * 2**30}  # requests that the service derives where neither request nor limit is given
_GPU = "nvidia.com/gpu"
NAMED = {"containers": "name", "endpoints": "name", "volumes": "name", "serviceRoles": "name", "volumeMounts": "mountPath"}
_NODE_TOLERANCE = 0.1  # published capacities and what DESCRIBE fills in differ by some percent


def parse(text: str) -> Document:
    """The document of a YAML text. Raises ValueError when it is no YAML mapping."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("not a YAML mapping")
    return document


def without_empty(value: Any) -> Any:
    """Without empty lists and maps: Snowflake refuses an empty list."""
    if isinstance(value, dict):
        return {key: kept for key, inner in value.items() if (kept := without_empty(inner)) not in ({}, [])}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value


def digests_in(document: Mapping[str, Any]) -> dict[str, str]:
    """Container → `sha256:…` of its image, from DESCRIBE's document."""
    containers = (document.get("spec") or {}).get("containers") or []
    return {str(one.get("name")): str(one["sha256"]).removeprefix("@") for one in containers if one.get("sha256")}


# ---- one form ----------------------------------------------------------------------------------------------------------------------------


def normalised(document: Mapping[str, Any], home: QualifiedName | None = None) -> Document:
    """One form for what we write and what DESCRIBE shows. `home` is the service's schema, for names that are written without one."""
    result: Document = json.loads(json.dumps(document, default=str))
    body = result.get("spec") or {}
    for container in body.get("containers") or []:
        _normalise_container(container, home)
    for endpoint in body.get("endpoints") or []:
        _without_defaults(endpoint, "endpoints")
    for volume in body.get("volumes") or []:
        _normalise_volume(volume, home)
    _without_defaults((body.get("logExporters") or {}).get("eventTableConfig") or {}, "eventTableConfig")
    _without_defaults((result.get("capabilities") or {}).get("securityContext") or {}, "securityContext")
    groups = ((body.get("platformMonitor") or {}).get("metricConfig") or {}).get("groups")
    if isinstance(groups, list):
        groups.sort(key=str)
    for role in result.get("serviceRoles") or []:
        role["name"] = str(role.get("name")).upper()
        role["endpoints"] = sorted(map(str, role.get("endpoints") or []))
    for part in (body, result):
        for key in ("containers", "endpoints", "volumes", "serviceRoles"):
            if isinstance(part.get(key), list):
                part[key] = sorted(part[key], key=lambda item: str(item.get("name")))
    return without_empty(result)  # type: ignore[no-any-return]


def _normalise_container(container: Document, home: QualifiedName | None) -> None:
    container.pop("sha256", None)
    container["image"] = image_path(str(container.get("image", "")))
    if "env" in container:
        container["env"] = {key: _env(value) for key, value in (container["env"] or {}).items()}
    for probe in ("readinessProbe", "livenessProbe"):
        if probe in container:
            container[probe]["path"] = "/" + str(container[probe].get("path", "")).lstrip("/")
            _without_defaults(container[probe], probe)
    for secret in container.get("secrets") or []:
        secret["snowflakeSecret"] = _secret(secret.get("snowflakeSecret"), home)
    if container.get("secrets"):
        container["secrets"].sort(key=lambda one: json.dumps(one, sort_keys=True))
    if container.get("volumeMounts"):
        for mount in container["volumeMounts"]:
            mount["mountPath"] = str(mount.get("mountPath")).rstrip("/") or "/"
        container["volumeMounts"].sort(key=lambda one: str(one["mountPath"]))
    if container.get("mountSessionToken") is True:
        del container["mountSessionToken"]
    if isinstance(container.get("sessionTokenConfig"), dict):
        _without_defaults(container["sessionTokenConfig"], "sessionTokenConfig")


def _secret(reference: Any, home: QualifiedName | None) -> str:
    if isinstance(reference, dict) and reference.get("objectReference"):
        return f"reference {reference['objectReference']}"
    name = reference.get("objectName") if isinstance(reference, dict) else reference
    return _full(str(name), home)


def image_path(image: str) -> str:
    """`/db/schema/repo/image:tag` of a path with or without the registry's host; names of the account in lower case."""
    path = image.split("@sha256:")[0]
    if not path.startswith("/"):
        path = "/" + path.partition("/")[2]
    parts = path.split("/")
    return "/".join([*(part.lower() for part in parts[:4]), *parts[4:]])


def _env(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _full(name: str, home: QualifiedName | None) -> str:
    """A name without quotes, in upper case, with database and schema where the service's own are known."""
    plain = name.replace('"', "").upper()
    missing = 2 - plain.count(".")
    if home is None or missing <= 0 or len(home.parts) < missing:
        return plain
    return ".".join([*(part.text for part in home.parts[:missing]), plain])


def _without_defaults(part: Document, what: str) -> None:
    for key, value in _DEFAULTS[what].items():
        if part.get(key) == value:
            del part[key]


def _normalise_volume(volume: Document, home: QualifiedName | None) -> None:
    """Stage names in full and in upper case; the old short form as the new one; durations in one unit."""
    source = str(volume.get("source", ""))
    if source.startswith("@"):
        volume["source"], volume["stageConfig"] = "stage", {"name": source}
    config = volume.get("stageConfig")
    if isinstance(config, dict) and "name" in config:
        stage, slash, path = str(config["name"]).replace('"', "").removeprefix("@").partition("/")
        config["name"] = f"@{_full(stage, home)}" + (slash + path.strip("/") if path.strip("/") else "")
        if "metadataCache" in config:
            config["metadataCache"] = f"{_seconds(str(config['metadataCache']))}s"
        given = config.get("resources") or {}
        config["resources"] = {part: {**_STAGE_DEFAULTS[part], **(given.get(part) or {})} for part in ("requests", "limits")}
    block = volume.get("blockConfig")
    if isinstance(block, dict):
        if "snapshotDeleteAfter" in block:
            block["snapshotDeleteAfter"] = f"{_seconds(str(block['snapshotDeleteAfter'])) // 3600}h"
        if (block.get("initialContents") or {}).get("fromSnapshot"):
            block["initialContents"]["fromSnapshot"] = _full(str(block["initialContents"]["fromSnapshot"]), home)
        _without_defaults(block, "blockConfig")


def _seconds(duration: str) -> int:
    factors = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * factors[unit] for number, unit in re.findall(r"(\d+)([dhms])", duration))


# ---- differences -------------------------------------------------------------------------------------------------------------------------


def differences(
    wanted: Mapping[str, Any], seen: Mapping[str, Any], node: Family | None = None, home: QualifiedName | None = None
) -> tuple[FieldChange, ...]:
    """Fields of the specification that differ. `node` is what a node of the service's pool has, None where that is not known.

    Keys that no specification of today has are left out: DESCRIBE may show more than one can write.
    """
    order = {key: _names((wanted.get("spec") or {}).get(key)) for key in ("containers", "endpoints", "volumes")}
    one, other = normalised(wanted, home), normalised(seen, home)
    _settle_resources(one, other, node)
    return tuple(_compare("specification", one, other, order))


def _names(items: Any) -> list[str]:
    return [str(item.get("name")) for item in items or []]


def _settle_resources(wanted: Document, seen: Document, node: Family | None) -> None:
    """Take out of both sides what the service filled in or capped by its rules."""
    shown = {one.get("name"): one for one in (seen.get("spec") or {}).get("containers") or []}
    for container in (wanted.get("spec") or {}).get("containers") or []:
        other = shown.get(container.get("name"))
        if other is None or "resources" not in other:
            continue
        mine: dict[str, dict[str, Any]] = container.setdefault("resources", {})
        for part in ("limits", "requests"):
            theirs = other["resources"].get(part) or {}
            for what in [what for what in ("memory", "cpu") if what in theirs]:
                _settle(mine, theirs, part, what, node)
            if not theirs:
                other["resources"].pop(part, None)
        if not other["resources"]:
            del other["resources"]
        container["resources"] = without_empty(mine)
        if not container["resources"]:
            del container["resources"]


def _settle(mine: dict[str, dict[str, Any]], theirs: Document, part: str, what: str, node: Family | None) -> None:
    seen = amount(theirs[what])
    most = None if node is None else float(node.vcpu) if what == "cpu" else node.memory_gib * 2.0**30
    given = (mine.get(part) or {}).get(what)
    if given is not None:
        if part == "limits" and most is not None and amount(given) > most and _close(seen, most, _NODE_TOLERANCE):
            theirs[what] = given  # capped
        return
    limit = (mine.get("limits") or {}).get(what)
    if part == "limits":
        derived = most
    else:
        derived = max(_LEAST[what], amount(limit)) if limit is not None else _LEAST[what]
        derived = min(derived, most) if most is not None else derived
    if derived is None or _close(seen, derived, _NODE_TOLERANCE if part == "limits" else 1e-3):
        del theirs[what]


def _close(one: float, other: float, tolerance: float) -> bool:
    return math.isclose(one, other, rel_tol=tolerance)


_FILLED_IN = re.compile(r".*\.volumes\[[^]]*\]\.blockConfig\.(?:iops|throughput|encryption)")  # the cloud's own defaults


def _compare(path: str, wanted: Any, seen: Any, order: Mapping[str, list[str]]) -> Iterator[FieldChange]:
    if isinstance(wanted, dict) and isinstance(seen, dict):
        free = path.endswith((".env", ".labels"))
        for key in [*wanted, *(key for key in seen if key not in wanted)]:
            inner = f"{path}.{key}"
            if key not in wanted:
                if (free or key in _KNOWN) and not _only_filled_in(inner, seen[key]):
                    yield FieldChange(inner, seen[key], None)
            elif key not in seen:
                if not _only_filled_in(inner, wanted[key]):
                    yield FieldChange(inner, None, wanted[key])
            elif key in NAMED and _are_maps(wanted[key]) and _are_maps(seen[key]):
                yield from _compare_named(inner, wanted[key], seen[key], NAMED[key], order.get(key, []), order)
            else:
                yield from _compare(inner, wanted[key], seen[key], order)
    elif isinstance(wanted, list) and isinstance(seen, list) and len(wanted) == len(seen):
        for number, (one, other) in enumerate(zip(wanted, seen, strict=True)):
            yield from _compare(f"{path}[{number}]", one, other, order)
    elif not _same(path, wanted, seen):
        yield FieldChange(path, seen, wanted)


def _compare_named(
    path: str, wanted: list[Any], seen: list[Any], by: str, places: list[str], order: Mapping[str, list[str]]
) -> Iterator[FieldChange]:
    """Items that belong together by name; numbered as in the manifest, what only the account has by its name."""
    mine, theirs = ({str(item.get(by)): item for item in items} for items in (wanted, seen))
    for number, name in enumerate([*mine, *(name for name in theirs if name not in mine)]):
        index = str(places.index(name)) if name in places else str(number) if name in mine else name
        inner = f"{path}[{index}]"
        if name not in mine:
            yield FieldChange(inner, theirs[name], None)
        elif name not in theirs:
            yield FieldChange(inner, None, mine[name])
        else:
            yield from _compare(inner, mine[name], theirs[name], order)


def _are_maps(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _only_filled_in(path: str, value: Any) -> bool:
    """Whether it is a default of the cloud, or a map that holds nothing else."""
    if path.endswith(".blockConfig") and isinstance(value, dict):
        return all(_FILLED_IN.fullmatch(f"{path}.{key}") for key in value)
    return bool(_FILLED_IN.fullmatch(path))


def _same(path: str, wanted: Any, seen: Any) -> bool:
    if ".resources." in path or path.endswith(".size"):
        return _close(amount(wanted), amount(seen), 1e-3)  # DESCRIBE rounds: 100M comes back as 0.0931Gi
    if any(isinstance(value, bool) for value in (wanted, seen)):
        return _env(wanted) == _env(seen)
    if any(isinstance(value, int | float) for value in (wanted, seen)):
        try:
            return float(wanted) == float(seen)
        except (TypeError, ValueError):
            return False
    return bool(wanted == seen)


_UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


def amount(value: Any) -> float:
    """`1Gi`, `1024Mi`, `500m` and `0.5` as numbers, so that they compare; NaN for what is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)([A-Za-z]*)", str(value))
    return float(match[1]) * _UNITS[match[2]] if match and match[2] in _UNITS else math.nan


def _keys(model: type[BaseModel], found: set[str]) -> set[str]:
    for name, field in model.model_fields.items():
        found.add(field.alias or name)
        for part in _models(field.annotation):
            _keys(part, found)
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


_KNOWN = frozenset(_keys(Specification, set()))
