"""A service specification as text for a statement, and the comparison with what DESCRIBE shows of it.

DESCRIBE returns a normalised text: an added `sha256` per container, images with or without the registry's host, numbers of `env` as text,
filled-in `resources`. Both sides are brought to one form here; what the manifest leaves open is never a difference.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from controller.api.service import Container, ImageReference, SecretReference, Specification
from controller.kinds.base import FieldChange

Document = dict[str, Any]

_DOLLAR = "\ue024"  # stands for `$` while YAML is written; comes out as an escape
_UNUSUAL = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ufeff]")  # what YAML would fold, or refuse, in a plain text
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "endpoints": {"public": False, "protocol": "HTTP"},
    "readinessProbe": {"periodSeconds": 5, "failureThreshold": 3},
    "livenessProbe": {"periodSeconds": 10, "failureThreshold": 3},
}


def build(specification: Specification, image: Callable[[Container, int], Any], secret: Callable[[str, int, int], str]) -> Document:
    """The document of a manifest's specification. `image` gives a container's image path, `secret` the full name of a secret."""
    document: Document = _pruned(specification.model_dump(mode="json", by_alias=True, exclude_none=True))
    for number, container in enumerate(specification.spec.containers):
        written = document["spec"]["containers"][number]
        written["image"] = image(container, number) if isinstance(container.image, ImageReference) else container.image
        for place, use in enumerate(container.secrets):
            name = use.snowflake_secret.object_name if isinstance(use.snowflake_secret, SecretReference) else use.snowflake_secret
            written["secrets"][place]["snowflakeSecret"] = {"objectName": secret(name, number, place)}
    for endpoint in document["spec"].get("endpoints", []):
        _without_defaults(endpoint, _DEFAULTS["endpoints"])
    return document


def _pruned(value: Any) -> Any:
    """Without empty lists and maps: Snowflake refuses an empty list."""
    if isinstance(value, dict):
        return {key: kept for key, inner in value.items() if (kept := _pruned(inner)) not in ({}, [])}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


# ---- as text --------------------------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Block style, texts of several lines as they are, and no `$$`, which would end the constant in the statement."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    if "$$" in value or value.endswith("$"):
        return dumper.represent_scalar("tag:yaml.org,2002:str", value.replace("$", _DOLLAR), style='"')
    if _UNUSUAL.search(value):
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def render(document: Document) -> str:
    """YAML text that may stand between `$$`."""
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1_000_000, allow_unicode=True)
    return text.replace(_DOLLAR, "\\u0024")


def configuration(document: Mapping[str, Any]) -> str:
    """A JSON document for an environment variable: readable lines, `$` escaped."""
    return json.dumps(document, indent=2, ensure_ascii=False).replace("$", "\\u0024")


def digest(document: Document) -> str:
    """12 hex digits that stand for a document in a mark."""
    return hashlib.sha256(json.dumps(normalised(document), sort_keys=True).encode()).hexdigest()[:12]


# ---- comparison -----------------------------------------------------------------------------------------------------------------------


def parse(text: str) -> Document:
    """The document of DESCRIBE's text. Raises ValueError when it is no YAML mapping."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("not a YAML mapping")
    return document


def normalised(document: Mapping[str, Any]) -> Document:
    """One form for what we write and what DESCRIBE shows."""
    result: Document = json.loads(json.dumps(document, default=str))
    body = result.get("spec") or {}
    for container in body.get("containers") or []:
        container.pop("sha256", None)
        container["image"] = image_path(str(container.get("image", "")))
        if "env" in container:
            container["env"] = {key: _env(value) for key, value in container["env"].items()}
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in container:
                _without_defaults(container[probe], _DEFAULTS[probe])
        for secret in container.get("secrets") or []:
            reference = secret.get("snowflakeSecret")
            name = reference.get("objectName") or reference.get("objectReference") if isinstance(reference, dict) else reference
            secret["snowflakeSecret"] = str(name).upper()
        if container.get("mountSessionToken") is True:
            del container["mountSessionToken"]
    for endpoint in body.get("endpoints") or []:
        _without_defaults(endpoint, _DEFAULTS["endpoints"])
    for volume in body.get("volumes") or []:
        _normalise_volume(volume)
    for name in ("endpoints", "volumes"):
        if name in body:
            body[name] = sorted(body[name], key=lambda item: str(item.get("name")))
    return _pruned(result)  # type: ignore[no-any-return]


def image_path(image: str) -> str:
    """`/db/schema/repo/image:tag` of a path with or without the registry's host; names of the account in lower case."""
    path = image.split("@sha256:")[0]
    if not path.startswith("/"):
        path = "/" + path.partition("/")[2]
    parts = path.split("/")
    return "/".join([*(part.lower() for part in parts[:4]), *parts[4:]])


def _env(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_defaults(part: Document, defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        if part.get(key) == value:
            del part[key]


def _normalise_volume(volume: Document) -> None:
    """Stage names without quotes and in upper case; the old short form as the new one."""
    source = str(volume.get("source", ""))
    if source.startswith("@"):
        volume["source"], volume["stageConfig"] = "stage", {"name": source}
    config = volume.get("stageConfig")
    if isinstance(config, dict) and "name" in config:
        stage, slash, path = str(config["name"]).replace('"', "").partition("/")
        config["name"] = stage.upper() + (slash + path.strip("/") if path.strip("/") else "")


def differences(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Fields of the specification that differ. What only `seen` has counts too, except sizes and defaults that the service fills in."""
    return tuple(_compare("specification", normalised(wanted), normalised(seen)))


_FILLED_IN = re.compile(r".*\.(?:resources|stageConfig\.(?:resources|metadataCache)|size|sessionTokenConfig)(?:\..*)?")


def _compare(path: str, wanted: Any, seen: Any) -> Iterator[FieldChange]:
    if isinstance(wanted, dict) and isinstance(seen, dict):
        for key in [*wanted, *(key for key in seen if key not in wanted)]:
            inner = f"{path}.{key}"
            if key not in wanted:
                if not _FILLED_IN.fullmatch(inner):
                    yield FieldChange(inner, seen[key], None)
            elif key not in seen:
                yield FieldChange(inner, None, wanted[key])
            else:
                yield from _compare(inner, wanted[key], seen[key])
    elif isinstance(wanted, list) and isinstance(seen, list) and len(wanted) == len(seen):
        for number, (one, other) in enumerate(zip(wanted, seen, strict=True)):
            yield from _compare(f"{path}[{number}]", one, other)
    elif not _same(path, wanted, seen):
        yield FieldChange(path, seen, wanted)


def _same(path: str, wanted: Any, seen: Any) -> bool:
    if ".resources." in path or path.endswith(".size"):
        one, other = _amount(wanted), _amount(seen)
        if isinstance(one, float) and isinstance(other, float):
            return math.isclose(one, other, rel_tol=1e-3)  # DESCRIBE rounds: 100M comes back as 0.0931Gi
        return one == other
    return str(wanted) == str(seen) if isinstance(wanted, int | float) or isinstance(seen, int | float) else bool(wanted == seen)


_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def _amount(value: Any) -> float | str:
    """`1Gi`, `1024Mi`, `500m` and `0.5` as numbers, so that they compare."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", str(value))
    return float(match[1]) * _UNITS[match[2]] if match and match[2] in _UNITS else str(value)
