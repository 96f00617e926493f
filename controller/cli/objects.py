"""`snowcat get`, `describe`, `events` and `reconcile`: one look at the account, joined with the local history. No daemon is needed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import typer

from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.cli.options import Format
from controller.cli.plan_forms import change_lines
from controller.cli.tables import print_document, print_table
from controller.cli.target import Opened, opened
from controller.cli.words import Wanted
from controller.manifests.problems import place_of
from controller.reconcile.events import Event
from controller.reconcile.lead.process import daemon
from controller.reconcile.planning.change import Action, Change
from controller.reconcile.report import ObjectStatus


def get(wanted: Wanted, output: Format) -> None:
    """The status of the chosen objects, without their parts where nobody asked for them."""
    with opened(wanted.target) as project:
        found, _ = _assess(project)
    wanted.checked([status.key for status in found])
    chosen = [status for status in found if wanted.matches(status.key) and (status.parent is None or wanted.kinds or wanted.names)]
    if output is not Format.TABLE:
        print_document([status.as_dict() for status in chosen], output)
        return
    rows = [(s.key.kind, str(s.key).partition("/")[2], s.sync.value, _health(s), s.message) for s in chosen]
    print_table(("KIND", "NAME", "SYNC", "HEALTH", "MESSAGE"), rows)


def describe(wanted: Wanted, output: Format) -> None:
    """All that is known of the chosen objects."""
    with opened(wanted.target) as project:
        found, changes = _assess(project)
        wanted.checked([status.key for status in found])
        chosen = [status for status in found if wanted.matches(status.key)]
        events_ = {status.key: project.state.events(status.key, 20) for status in chosen}
    if output is not Format.TABLE:
        documents = []
        for status in chosen:
            change = changes.get(status.key)
            document = {**status.as_dict(), "change": change.as_dict() if change else None}
            documents.append({**document, "events": [event.as_dict() for event in events_[status.key]]})
        print_document(documents, output)
        return
    for index, status in enumerate(chosen):
        if index:
            typer.echo("")
        for line in describe_lines(status, changes.get(status.key), events_[status.key]):
            typer.echo(redact(line))


def events(wanted: Wanted, output: Format, limit: int) -> None:
    """The history, oldest first."""
    with opened(wanted.target) as project:
        every = project.state.events(limit=limit if not wanted.names and not wanted.kinds else 5000)
    chosen = [event for event in every if _concerns(event, wanted)][-limit:]
    if output is not Format.TABLE:
        print_document([event.as_dict() for event in chosen], output)
        return
    print_table(("LAST", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"), [_event_row(event) for event in chosen])


def reconcile(wanted: Wanted) -> None:
    """Leave a note for the daemon, which looks for one every second; a job forgives its earlier failures."""
    with opened(wanted.target) as project:
        keys = [obj.key for obj in project.engine.load(keep=False).graph]
        wanted.checked(keys)
        chosen = [key for key in keys if wanted.matches(key)]
        for key in chosen:
            project.state.remember(f"reconcile:{key}", uuid.uuid4().hex)
        for text in [str(key) for key in chosen] if wanted.names or wanted.kinds else [""]:
            project.state.poke(text)
        listens = daemon(project.state)
    what = ", ".join(str(key) for key in chosen) if wanted.names or wanted.kinds else "everything"
    if listens is not None:
        typer.echo(f"asked for a look at {what}")
    else:
        typer.echo(f"a look at {what} is noted, but no daemon runs here to do it: 'snowcat run' or 'snowcat apply' will", err=True)


def _assess(project: Opened) -> tuple[list[ObjectStatus], dict[ObjectKey, Change]]:
    loaded, now, found = project.engine.assess()
    for problem in loaded.problems:
        typer.echo(str(problem), err=True)
    return found, {change.key: change for change in now.changes if change.action is not Action.NONE}


def _health(status: ObjectStatus) -> str:
    return f"{status.health.value} {status.progress:.0%}" if status.progress is not None else status.health.value


def describe_lines(status: ObjectStatus, change: Change | None, history: list[Event]) -> Iterator[str]:
    """All of one object."""
    facts = [
        ("Object", str(status.key)),
        ("Name", str(status.key.name)),
        ("Manifest", place_of(status.location) if status.location else "none any more"),
        ("Part of", str(status.parent) if status.parent else ""),
        ("Parts", ", ".join(str(key) for key in status.children)),
        ("Generation", str(status.generation) if status.generation else ""),
        ("Sync", status.sync.value),
        ("Health", _health(status)),
        ("Message", status.message),
    ]
    for title, text in facts:
        if text:
            yield f"{title + ':':<12}{text}"
    yield "Conditions:"
    for condition in status.conditions:
        since = ago(condition.last_transition) if condition.last_transition else ""
        yield _row((condition.type, 12), (condition.status, 7), (condition.reason, 20), (since, 12), (condition.message, 0))
    if status.observed:
        yield "Observed:"
        for key, value in status.observed.items():
            yield from _observed(key, value)
    if change:
        yield "Would be done:"
        for line in change_lines(change):
            yield f"  {line}"
    yield "Events:" if history else "Events: none"
    for event in history:
        times = f" (×{event.count})" if event.count > 1 else ""
        yield _row((ago(event.time), 12), (event.type, 7), (event.reason, 16), (event.message + times, 0))


def _observed(key: str, value: object) -> Iterator[str]:
    """One value; a mapping, such as an estimate, with a line for each key; a list of mappings, such as the runs of a sweep, as a table."""
    if isinstance(value, Mapping):
        yield f"  {key}:"
        for name, part in value.items():
            yield from (f"  {line}" for line in _observed(str(name), part))
        return
    if not isinstance(value, list) or not value or not all(isinstance(part, Mapping) for part in value):
        yield f"  {key}: {', '.join(str(part) for part in value) if isinstance(value, list) else value}"
        return
    titles = list(dict.fromkeys(title for part in value for title in part))
    lines = [titles, *([str(part.get(title, "")) for title in titles] for part in value)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(titles))]
    yield f"  {key}:"
    for line in lines:
        yield "    " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _row(*cells: tuple[str, int]) -> str:
    """An indented line of texts with their widths; two blanks stand between columns even where a text is wider."""
    return "  " + "  ".join(f"{text:<{width}}" for text, width in cells).rstrip()


def _concerns(event: Event, wanted: Wanted) -> bool:
    key = event.key
    return (not wanted.kinds and not wanted.names) or (key is not None and wanted.matches(key))


def _event_row(event: Event) -> tuple[object, ...]:
    return ago(event.time), event.type, event.reason, event.key or event.object, event.count, event.message


def ago(time: datetime) -> str:
    """`3m ago`: the age of a moment in its two largest units."""
    seconds = max(0, int((datetime.now(UTC) - time).total_seconds()))
    for size, unit, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size}{unit}{rest}{small} ago" if rest else f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"
