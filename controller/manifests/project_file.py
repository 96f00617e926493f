"""The project file: its settings, or what is wrong with it and what can be used of it all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from controller.api.objects import Location
from controller.api.project import PROJECT_FILE, ProjectSettings
from controller.manifests.explain import findings
from controller.manifests.nodes import Node, dotted
from controller.manifests.plain_secrets import HINT, plain_secrets
from controller.manifests.problems import Problem, did_you_mean
from controller.manifests.resolve import existing_objects


@dataclass(frozen=True)
class ProjectFile:
    """What the project file says.

    `settings` is None when it cannot be used. Then `known` has what concerns references, where at least that can be told, and `told` all
    values of all accounts that can be made out.
    """

    problems: tuple[Problem, ...]
    settings: ProjectSettings | None = None
    known: ProjectSettings | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


def read_project_file(file: Path, nodes: list[Node] | Problem) -> ProjectFile:
    """The project file from its documents, or from what keeps them from being read."""
    if isinstance(nodes, Problem):
        return ProjectFile((nodes,))
    if len(nodes) != 1 or not isinstance(nodes[0].value, dict):
        hint = "apiVersion, kind: Project, project, role …; 'snowcat init DIR' writes an example"
        return ProjectFile((Problem(Location(file, 1), f"{PROJECT_FILE} must hold one mapping", hint),))
    node = nodes[0]
    secrets = list(plain_secrets(node))
    if secrets:  # a message about another file must not show one, so no values are told
        known = _for_references(node.plain) if all(path[0] in ("values", "accounts") for path in secrets) else None
        problems = tuple(_problem(file, node, path, "a secret stands here in plain text", HINT) for path in secrets)
        return ProjectFile(problems, known=known)
    told = _told_values(node.plain)
    try:
        settings = ProjectSettings.model_validate(node.plain, by_alias=True, by_name=False)
    except pydantic.ValidationError as error:
        found = tuple(Problem(Location(file, f.line), f.message, f.hint, f.field) for f in findings(error, ProjectSettings, node))
        return ProjectFile(found, known=_for_references(node.plain), told=told)
    _, wrong = existing_objects(settings)
    if wrong:
        return ProjectFile(tuple(_problem(file, node, ("existing",), message) for message in wrong), told=told)
    return ProjectFile((), settings, settings, told)


def _for_references(plain: Mapping[str, Any]) -> ProjectSettings | None:
    """What can be used of a project file to look up references; None where its list of existing objects cannot be told."""
    names = [info.alias or name for name, info in ProjectSettings.model_fields.items()]
    misspelt = [did_you_mean(name, names) for name in plain if name not in names]
    usable = {name: value for name, value in plain.items() if name in ("role", "home", "warehouse", "existing")}
    needed = {"apiVersion": "snowcat/v1", "kind": "Project", "project": "unknown", "role": "unknown"}
    try:
        settings = ProjectSettings.model_validate({**needed, **usable}, by_alias=True, by_name=False)
    except pydantic.ValidationError as error:
        wrong = {detail["loc"][0] for detail in error.errors(include_url=False)}
        if "existing" in wrong:
            return None
        rest = {name: value for name, value in usable.items() if name not in wrong}
        settings = ProjectSettings.model_validate({**needed, **rest}, by_alias=True, by_name=False)
    return None if any("existing" in word for word in misspelt) or existing_objects(settings)[1] else settings


def _told_values(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever the file defines anywhere: which account is meant cannot be told, and any value shows what is wrong beside it."""
    accounts = plain.get("accounts")
    places = [*accounts.values(), plain] if isinstance(accounts, dict) else [plain]
    told = [place_["values"] for place_ in places if isinstance(place_, dict) and isinstance(place_.get("values"), dict)]
    return {str(name): value for values in told for name, value in values.items()}


def _problem(file: Path, node: Node, path: tuple[Any, ...], message: str, hint: str = "") -> Problem:
    line, present = node.find(path)
    return Problem(Location(file, line), message, hint, dotted(present))
