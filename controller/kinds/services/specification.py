"""A service specification as a document, and as text for a statement."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from controller.api.specification import Container, ImageReference, SecretReference, Specification
from controller.kinds.services.comparison import Document, normalised, without_empty

_DOLLAR = "\ue024"  # stands for `$` while YAML is written; comes out as an escape
_UNUSUAL = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ufeff]")  # what YAML would fold, or refuse, in a plain text


def build(specification: Specification, image: Callable[[Container, int], Any], secret: Callable[[str, int, int], str]) -> Document:
    """The document of a manifest's specification. `image` gives a container's image path, `secret` the full name of a secret."""
    document: Document = without_empty(specification.model_dump(mode="json", by_alias=True, exclude_none=True))
    for number, container in enumerate(specification.spec.containers):
        written = document["spec"]["containers"][number]
        written["image"] = image(container, number) if isinstance(container.image, ImageReference) else container.image
        for place, use in enumerate(container.secrets):
            given = use.snowflake_secret
            if isinstance(given, SecretReference) and given.object_reference is not None:
                continue
            name = given.object_name or "" if isinstance(given, SecretReference) else given
            written["secrets"][place]["snowflakeSecret"] = {"objectName": secret(name, number, place)}
    for endpoint in document["spec"].get("endpoints", []):
        for key, value in (("public", False), ("protocol", "HTTP")):
            if endpoint.get(key) == value:
                del endpoint[key]
    return document


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
