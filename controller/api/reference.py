"""The reference of all manifests, made from the models: `python -m controller.api.reference DOCS` writes manifests.md and schemas/ there.

A test compares the files with what is made here, so that the reference never says what the program does not do.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

from controller.api.base import SIBLING, LocalPath, Manifest, Metadata, Ref, Scope
from controller.api.project import ProjectSettings
from controller.api.registry import KINDS, json_schema

_INTRODUCTION = """\
# Manifests

Made from the program by `python -m controller.api.reference docs`; do not edit. The same as JSON Schema, for editors:
[schemas/](schemas/), or `snowcat schema [KIND]`.

A manifest is a YAML document in a file `*.yaml` below the folder of `snowcat.yaml`; a file may hold several, separated by `---`. Field
names are camelCase, unknown fields are an error. Names are Snowflake's: case does not count unless a name is in double quotes. A field that
refers to another object takes its name, looked up in the object's own schema, then in the project; `database.schema.name` says it exactly.
`${name}` and `${name:-default}` are replaced by the values of `snowcat.yaml` for the chosen account; `$${` is a literal `${`.
"""

_SCOPES = {
    Scope.ACCOUNT: "Lives in the account.",
    Scope.DATABASE: "Lives in a database: `metadata.database`.",
    Scope.SCHEMA: "Lives in a schema: `metadata.schema` is `database.schema`.",
}

_METADATA = {
    "name": "The object's name.",
    "schema": "`database.schema`, for kinds that live in a schema.",
    "database": "For a `Schema`.",
    "labels": "Words of your own; Snowcat does not read them.",
    "dependsOn": "`Kind/name` of objects that must be ready first, beyond what the spec refers to.",
    "suspend": "Leave the object as it is and only report, until this is false again.",
    "managementPolicy": "`full`; `observe`: report only; `orphan`: create and correct, never delete.",
    "adopt": "Take over an object that exists and was not made by this project.",
    "deletionPolicy": "`delete` or `orphan`; without it `orphan` for kinds that hold data, `delete` for others.",
    "replace": "`allowed`: a field that cannot be changed in place may lead to a drop and a new object.",
    "ignore": "Fields of the spec that others may change.",
}


def reference() -> str:
    """The whole of manifests.md."""
    parts = [_INTRODUCTION, "| kind | |\n|---|---|"]
    parts[-1] += "".join(f"\n| [{name}](#{name.lower()}) | {_first_line(kind)} |" for name, kind in KINDS.items()) + "\n"
    parts.append("## The project file: snowcat.yaml\n\n" + _tables("", ProjectSettings))
    parts.append("## metadata\n\nThe same for all kinds.\n\n" + _tables("metadata", Metadata))
    parts += [_kind(name, kind) for name, kind in KINDS.items()]
    return "\n".join(parts)


def write(docs: Path) -> None:
    """Write manifests.md and schemas/*.json below a folder."""
    (docs / "schemas").mkdir(parents=True, exist_ok=True)
    (docs / "manifests.md").write_text(reference(), encoding="utf-8")
    for name, text in schemas().items():
        (docs / "schemas" / name).write_text(text, encoding="utf-8")


def schemas() -> dict[str, str]:
    """File name → JSON Schema, for each kind, the project file, and any manifest."""
    names: dict[str, str | None] = {"manifest.json": None, "Project.json": "Project", **{f"{kind}.json": kind for kind in KINDS}}
    return {file: json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n" for file, kind in names.items()}


def _kind(name: str, kind: type[Manifest]) -> str:
    spec = kind.model_fields["spec"].annotation
    notes = [_SCOPES[kind.scope]]
    notes += ["Takes unquoted names only."] if kind.bare_name else []
    notes += ["Holds data: it is not dropped unless `metadata.deletionPolicy` is `delete`."] if kind.holds_data else []
    text = " ".join((kind.__doc__ or "").split())
    body = _tables("spec", spec) if isinstance(spec, type) and issubclass(spec, pydantic.BaseModel) else ""
    return f"## {name}\n\n{text}\n\n{' '.join(notes)}\n\n{body}"


def _first_line(kind: type[Manifest]) -> str:
    return " ".join((kind.__doc__ or "").split()).split(". ")[0].rstrip(".") + "."


def _tables(title: str, model: type[pydantic.BaseModel]) -> str:
    """One table for a model, then one for each model below it."""
    lines = [f"**{title}**\n" if title else "", "| field | type | default | |", "|---|---|---|---|"]
    below: list[tuple[str, type[pydantic.BaseModel]]] = []
    for name, field in model.model_fields.items():
        alias = field.alias or name
        lines.append(f"| `{alias}` | {_type(field.annotation, field.metadata)} | {_default(field)} | {_text(model, alias, field)} |")
        path = f"{title}.{alias}" if title else alias
        below += [(path + suffix, part) for part, suffix in _models(field.annotation)]
    return "\n".join(line for line in lines if line) + "\n\n" + "".join(_tables(path, part) for path, part in below)


def _text(model: type[pydantic.BaseModel], alias: str, field: FieldInfo) -> str:
    text = field.description or (_METADATA.get(alias, "") if model is Metadata else "")
    return text.replace("|", "\\|")


def _models(annotation: Any, suffix: str = "") -> Iterator[tuple[type[pydantic.BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation, suffix
    elif hasattr(annotation, "__metadata__"):
        yield from _models(get_args(annotation)[0], suffix)
    elif get_origin(annotation) is list:
        yield from _models(get_args(annotation)[0], suffix + "[]")
    elif get_origin(annotation) is dict:
        yield from _models(get_args(annotation)[1], suffix + ".<name>")
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models(part, suffix)


def _type(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    for mark in metadata:
        if isinstance(mark, Ref):
            return "name of an object" if mark.kind == SIBLING else f"name of a [{mark.kind}](#{mark.kind.lower()})"
        if isinstance(mark, LocalPath):
            return "path or pattern" if mark.glob else "path"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0], annotation.__metadata__)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in arguments if part is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{_written(value)}`" for value in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return "mapping, see below"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{_written(member.value)}`" for member in annotation)
    names = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", Any: "anything"}
    return names.get(annotation, "anything")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None or isinstance(value, pydantic.BaseModel):
        return ""
    return f"`{_written(value)}`"


def _written(value: Any) -> str:
    """A value as YAML has it."""
    return json.dumps(value.value if hasattr(value, "value") else value, ensure_ascii=False).strip('"')


if __name__ == "__main__":
    write(Path(sys.argv[1]))
