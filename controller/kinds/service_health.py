"""How a service is, from SHOW SERVICES, and for one that does not run from the messages of its containers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from controller.account.snapshot import Row, Show, Snapshot
from controller.api.names import QualifiedName
from controller.kinds.base import Gatherer, Health
from controller.kinds.properties import Verdict, as_bool, as_int, as_upper
from controller.kinds.references import schema_scope

_QUIET = frozenset({"SUSPENDED", "SUSPENDING", "DELETING", "DELETED"})
_BROKEN = frozenset({"FAILED", "INTERNAL_ERROR"})


def services_in(name: QualifiedName) -> Show:
    """The SHOW that lists a service with its siblings, jobs among them."""
    return Show("SERVICES", schema_scope(name))


def containers_of(name: QualifiedName) -> Show:
    return Show("SERVICE CONTAINERS", f"SERVICE {name.sql}")


def look_closer(name: QualifiedName, gatherer: Gatherer) -> None:
    """Ask for the containers of a service that is there and not well, so that its status can say why."""
    row = find(gatherer.show(services_in(name)), name)
    if row is not None and as_upper(row.get("status")) not in (_QUIET | {"RUNNING"}):
        gatherer.show(containers_of(name))


def find(rows: Sequence[Row], name: QualifiedName) -> Row | None:
    return next((row for row in rows if row.get("name") == name.name.text), None)


def verdict(name: QualifiedName, row: Row, snapshot: Snapshot) -> Verdict:
    """Health of a long-running service; an unknown status is shown as it is."""
    status = as_upper(row.get("status")) or "UNKNOWN"
    ready, wanted = as_int(row.get("current_instances")), as_int(row.get("target_instances"))
    count = f"{ready} of {wanted} instances" if ready is not None and wanted is not None else ""
    trouble = _trouble(snapshot.rows(containers_of(name)) if containers_of(name) in snapshot.answers else ())
    if status == "RUNNING":
        if as_bool(row.get("is_upgrading")):
            return Verdict(Health.PROGRESSING, f"rolling upgrade, {count}".rstrip(", "), "Upgrading")
        return Verdict(Health.HEALTHY, count, "Running")
    if status in ("SUSPENDED", "SUSPENDING"):
        return Verdict(Health.SUSPENDED, status.lower(), "Suspended")
    if status in _BROKEN or trouble.failing:
        return Verdict(Health.DEGRADED, _join(status.lower(), trouble.message), "ServiceFailed")
    if status in ("DELETING", "DELETED"):
        return Verdict(Health.PROGRESSING, status.lower(), "Deleting")
    return Verdict(Health.PROGRESSING, _join(status.lower(), trouble.message), "Starting")


def lagging(name: QualifiedName, snapshot: Snapshot) -> str:
    """Why a composite's service is not well, for its own message: `; service: pending: …`. Empty for one that is, or is not there."""
    row = find(snapshot.rows(services_in(name)), name)
    found = verdict(name, row, snapshot) if row is not None else Verdict()
    return "" if found.health is Health.HEALTHY else f"; service: {found.message}"


class _Trouble:
    """The most telling message of a service's containers."""

    def __init__(self, message: str = "", failing: bool = False) -> None:
        self.message = message
        self.failing = failing


def _trouble(rows: Sequence[Row]) -> _Trouble:
    for row in rows:
        status = as_upper(row.get("status"))
        restarts = as_int(row.get("restart_count")) or 0
        if status in ("FAILED", "UNKNOWN") or restarts:
            message = str(row.get("message") or status or "").strip()
            parts = [message, exit_code(as_int(row.get("last_exit_code")), message)]
            parts += [f"{restarts} restarts"] if restarts else []
            return _Trouble(
                f"container {row.get('container_name')}: {', '.join(part for part in parts if part)}", status == "FAILED" or restarts > 2
            )
    message = next((str(row["message"]).strip() for row in rows if row.get("message") and as_upper(row.get("status")) != "READY"), "")
    return _Trouble(message)


def exit_code(code: int | None, message: str) -> str:
    """`exit code 3`; empty where none is known, or the message beside it says it itself."""
    return "" if code is None or re.search(rf"\bexit code {code}\b", message) else f"exit code {code}"


def _join(*parts: str) -> str:
    return ": ".join(part for part in parts if part)
