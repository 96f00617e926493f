"""The service or job in the account that stands behind an object: its own, that of its parts, or its latest attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from controller.account.session import Session
from controller.account.snapshot import Show
from controller.api.names import Identifier
from controller.api.objects import ObjectKey
from controller.cli.errors import Failure
from controller.cli.target import Opened
from controller.cli.words import any_named, one_key
from controller.kinds.mark import split_comment


def object_named(project: Opened, text: str) -> ObjectKey:
    """The object that `Kind/name` means: one of the manifests, or a part of one, for which the account must be looked at.

    Raises:
        Failure: none or several.
        AccountError: as the account answered.
    """
    loaded = project.engine.load(keep=False)
    declared = [obj.key for obj in loaded.graph]
    if any_named(text, declared):
        return one_key(text, declared)
    now = project.engine.plan(loaded, project.engine.look(loaded))
    return one_key(text, now.objects)


def service_of(session: Session, key: ObjectKey, project: str) -> tuple[str, Mapping[str, Any]]:
    """The full name as SQL of the newest service or job that belongs to an object, and its row.

    Raises:
        Failure: there is none (yet).
        AccountError: as the account answered.
    """
    parent = key.name.parent
    if parent is None:
        raise Failure(f"{key} has no service: only services, jobs, deployments and workspaces do")
    rows = session.execute(Show("SERVICES", f"SCHEMA {parent.sql}").sql).rows
    own = [row for row in rows if _belongs(row, key, project)]
    if not own:
        raise Failure(f"{key} has no service or job in the account yet; 'snowcat describe {key}' says why")
    newest = max(own, key=lambda row: str(row.get("created_on") or ""))
    return parent.child(Identifier(str(newest["name"]))).sql, newest


def _belongs(row: Mapping[str, Any], key: ObjectKey, project: str) -> bool:
    _, mark = split_comment(row.get("comment"))
    if mark is None or mark.project != project:
        return False
    return str(key) in (f"{mark.kind}/{unquote(mark.name)}", unquote(mark.attributes.get("parent", "")))
