"""Where a service's specification comes from: the manifest itself, a file beside it, or a template with values.

A template is sent as it is (SPECIFICATION_TEMPLATE … USING) and filled in here as well, so that it can be checked before it is sent and
compared afterwards.

Source: docs.snowflake.com, sql-reference/sql/create-service; developer-guide/snowpark-container-services/working-with-services.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from controller.account import statements as sql
from controller.api.base import DeletionPolicy
from controller.api.objects import DesiredObject
from controller.api.service import ServiceSpec, TemplateValue, unsuited
from controller.api.specification import ImageReference, Specification
from controller.kinds.base import Stalled, View
from controller.kinds.image import image_path
from controller.kinds.services.comparison import Document, parse
from controller.kinds.services.specification import render

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\|\s*default\(\s*(.*?)\s*\)\s*)?\}\}")
_FLAG = re.compile(r",\s*(true|false)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceFact:
    """The text of a specification file or of a template file."""

    text: str


def read_source(obj: DesiredObject) -> SourceFact | None:
    """The file that the manifest names; None when the specification stands in the manifest.

    Raises:
        Stalled: it cannot be read.
    """
    spec: ServiceSpec = obj.manifest.spec
    name = spec.specification_file or (spec.template.file if spec.template is not None else None)
    if name is None:
        return None
    path = obj.location.file.parent / name
    try:
        return SourceFact(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Stalled(f"{path}: cannot be read: {error}", "FileNotReadable") from None


def specification_of(obj: DesiredObject, view: View) -> Specification:
    """The checked specification, with a template filled in.

    Raises:
        Stalled: it is not a specification that goes with this service; the message names file and field.
    """
    spec: ServiceSpec = obj.manifest.spec
    if spec.specification is not None:
        return spec.specification
    place = _place(obj)
    text = _text(obj, view)
    if spec.template is not None:
        text = fill_in(text, template_values(obj, view), place)
    try:
        found = Specification.model_validate(parse(text), by_alias=True, by_name=False)
    except pydantic.ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()]
        raise Stalled(f"{place}: {'; '.join(problems)}", "BadSpecification") from None
    except ValueError as error:
        raise Stalled(f"{place}: {error}", "BadSpecification") from None
    problem = unsuited(spec, found)
    if not problem and any(isinstance(container.image, ImageReference) for container in found.spec.containers):
        problem = "write the image's path here; {ref: …} works in the manifest, or under template.using"
    if not problem and found.spec.block_volumes and obj.manifest.metadata.deletion_policy is None:
        problem = f"it has block volumes, so metadata.deletionPolicy must say {DeletionPolicy.DELETE} or {DeletionPolicy.ORPHAN}"
    if problem:
        raise Stalled(f"{place}: {problem}", "BadSpecification")
    return found


def clause(obj: DesiredObject, document: Document, view: View) -> str:
    """The FROM clause of CREATE and ALTER.

    Raises:
        Stalled: the template holds what would end its constant.
    """
    spec: ServiceSpec = obj.manifest.spec
    if spec.template is None:
        return written(document)
    try:
        template = sql.dollar("\n" + _text(obj, view).rstrip() + "\n")
    except sql.NotSql as error:
        raise Stalled(f"{_place(obj)}: {error}", "BadSpecification") from None
    pairs = [f"{name} => {sql.text(_plain(value))}" for name, value in template_values(obj, view).items()]
    return f"FROM SPECIFICATION_TEMPLATE {template}\n  USING ({', '.join(pairs)})"


def written(document: Document) -> str:
    """A document as it is, whatever it was made from."""
    return f"FROM SPECIFICATION {sql.dollar(chr(10) + render(document))}"


def _text(obj: DesiredObject, view: View) -> str:
    spec: ServiceSpec = obj.manifest.spec
    if spec.template is not None and spec.template.text is not None:
        return spec.template.text
    fact = view.fact(obj.key)
    if not isinstance(fact, SourceFact):
        raise Stalled(f"{_place(obj)}: was not read", "FileNotReadable")
    return fact.text


def _place(obj: DesiredObject) -> str:
    spec: ServiceSpec = obj.manifest.spec
    name = spec.specification_file or (spec.template.file if spec.template is not None else None)
    return str(obj.location.file.parent / name) if name else f"{obj.location}: {obj.key}: template"


# ---- templates ---------------------------------------------------------------------------------------------------------------------------


def template_values(obj: DesiredObject, view: View) -> dict[str, Any]:
    """The values of USING, with the paths of images."""
    spec: ServiceSpec = obj.manifest.spec
    given: Mapping[str, TemplateValue] = spec.template.using if spec.template is not None else {}
    return {
        name: image_path(obj, f"template.using.{name}.ref", value.ref, view) if isinstance(value, ImageReference) else value
        for name, value in given.items()
    }


def fill_in(template: str, values: Mapping[str, Any], place: str = "template") -> str:
    """The text with `{{ name }}` and `{{ name | default('x') }}` replaced; `default('x', true)` also replaces blanks.

    Raises:
        Stalled: a variable has no value, or the template needs more than this.
    """
    known = {name.upper(): value for name, value in values.items()}

    def one(match: re.Match[str]) -> str:
        value, default = known.get(match[1].upper()), match[2]
        if default is not None:
            also_blank = _FLAG.search(default)
            text = (_FLAG.sub("", default) if also_blank else default).strip().strip("'\"")
            if value is None or (also_blank and also_blank[1].lower() == "true" and not _plain(value).strip()):
                return text
        if value is None:
            raise Stalled(f"{place}: the variable {match[1]} has no value; give it under template.using", "BadTemplate")
        return _plain(value)

    filled = _PLACE.sub(one, template)
    other = re.search(r"\{\{.*?\}\}|\{%.*?%\}", _PLACE.sub("", template))
    if other is not None:
        raise Stalled(f"{place}: {other[0]} is more than a variable with a default, which is all that is understood here", "BadTemplate")
    return filled


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
