"""From attempts, facts and progress to an observation: the same for every kind whose work is done by jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.account.snapshot import Show
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import FieldChange, Health, Inventory, Observation, Sql, Step, View
from controller.kinds.comments import marked_name
from controller.kinds.jobs.service import Attempt, JobFact, Next, attempts, next_step
from controller.kinds.mark import Mark, mark_of, split_comment
from controller.kinds.references import schema_of
from controller.kinds.service_health import services_in

OUTDATED = "Outdated"  # the reason of an observation: there are jobs, but none of the wanted identity
_PHASES = {
    "load": "loading",
    "data": "reading rows",
    "train": "training",
    "eval": "evaluating",
    "save": "saving",
    "done": "done",
    "failed": "failed",
}


@dataclass(frozen=True)
class Jobs:
    """The jobs of one object in one look at the account."""

    found: Sequence[Attempt]  # of the wanted identity
    others: Sequence[tuple[str, Mark]]  # stored names and marks of jobs of earlier identities
    next: Next

    @property
    def last(self) -> Attempt | None:
        return self.found[-1] if self.found else None


def jobs_of(obj: DesiredObject, fact: JobFact, limit: int, view: View) -> Jobs:
    rows = view.snapshot.rows(services_in(obj.key.name))
    found = attempts(rows, fact.prefix, schema_of(obj.key.name))
    names = {attempt.name.name.text for attempt in found}
    others = [
        (str(row["name"]), mark)
        for row in rows
        if row.get("name") not in names and (mark := mark_of(row)) is not None and _is_of(mark, obj.key, view)
    ]
    return Jobs(found, others, next_step(found, fact, limit))


def observe_jobs(obj: DesiredObject, jobs: Jobs, fact: JobFact, done: str, what: str) -> Observation:
    """`done` describes the finished work, `what` names it (`run`, `model`) for the field that changes with the identity."""
    last = jobs.last
    mark = split_comment(last.row.get("comment"))[1] if last is not None else None
    owner = str(last.row.get("owner") or "") or None if last is not None else None
    observed: dict[str, Any] = {what: fact.identity}
    if last is not None:
        observed |= {"job": last.name.name.text, "attempt": last.number, "status": last.status}
    if fact.result is not None:
        marked = mark is not None  # after 30 days the job is gone, and the work stays
        return Observation(exists=True, message=done, reason="Succeeded", mark=mark, markable=marked, owner=owner, observed=observed)
    if last is None:
        if not jobs.others:
            return Observation(exists=False, health=Health.MISSING, message=f"{what} {fact.identity} has not been made", reason="Missing")
        before = sorted({other.attributes.get("run", name) for name, other in jobs.others})
        change = FieldChange(what, ", ".join(before), fact.identity)
        return Observation(
            exists=True, health=Health.PROGRESSING, message=f"a new {what} is due", reason=OUTDATED, drift=(change,), markable=False
        )
    if jobs.next.stalled or jobs.next.attempt is not None:
        after = f"attempt {jobs.next.attempt}" if jobs.next.attempt is not None else "a finished one"
        ending = fact.endings.get(last.number)
        message = jobs.next.stalled or f"attempt {last.number} failed: {ending.message if ending else last.status.lower()}"
        change = FieldChange(what, f"attempt {last.number} {last.status.lower()}", after, own=last.status == "FAILED")
        return Observation(
            exists=True,
            health=Health.DEGRADED,
            message=message,
            reason=jobs.next.reason or "Retrying",
            drift=(change,),
            mark=mark,
            owner=owner,
            observed=observed,
        )
    progress = fact.progress or {}
    return Observation(
        exists=True,
        health=Health.PROGRESSING,
        message=sentence(last, progress),
        reason="Running" if last.status == "RUNNING" else "Pending",
        mark=mark,
        owner=owner,
        observed={**observed, **{key: progress[key] for key in _SHOWN if progress.get(key) is not None}},
        progress=share(progress),
    )


_SHOWN = (
    "phase",
    "model",
    "step",
    "steps",
    "epoch",
    "loss",
    "learningRate",
    "gradNorm",
    "tokensPerSecond",
    "mfu",
    "memoryBytes",
    "metrics",
    "etaSeconds",
    "elapsedSeconds",
)


def credits_spent(seconds: float, rate: float | None, nodes: int) -> dict[str, float]:
    """What the attempts so far cost, for the status: credits of the nodes for the time that the job itself ran. Empty where unknown."""
    return {"credits": round(seconds / 3600 * rate * nodes, 4)} if rate is not None and seconds else {}


def share(progress: Mapping[str, Any]) -> float | None:
    """0..1 of the training, None before and after: what is scored then has counts of its own, and a share never goes back."""
    step, steps = progress.get("step"), progress.get("steps")
    if progress.get("phase") != "train":
        return None
    if not isinstance(step, int) or not isinstance(steps, int) or steps < 1:
        return None
    return min(1.0, max(0.0, step / steps))


def sentence(last: Attempt, progress: Mapping[str, Any]) -> str:
    """`training step 9 of 16, loss 0.41, 1 min 10 s left`."""
    if not progress:
        return {"PENDING": "waiting for a place in the pool", "RUNNING": "the job is starting", "DONE": "waiting for the result"}.get(
            last.status, last.status.lower()
        )
    phase = str(progress.get("phase", ""))
    parts = [_PHASES.get(phase, phase)]
    if progress.get("step") is not None and progress.get("steps") and phase in ("train", "eval"):
        parts[0] += f" {'step' if phase == 'train' else 'row'} {progress['step']} of {progress['steps']}"
    if isinstance(progress.get("loss"), int | float):
        parts.append(f"loss {progress['loss']:.2f}")
    looked = (progress.get("metrics") or {}).get("loss") if phase == "train" else None
    if isinstance(looked, int | float):
        parts.append(f"{looked:.2f} on held-out rows")
    if isinstance(progress.get("etaSeconds"), int | float) and progress["etaSeconds"] > 0:
        parts.append(f"{duration(float(progress['etaSeconds']))} left")
    if progress.get("message") and phase != "train":
        parts.append(str(progress["message"]))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`45 s`, `1 min 10 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


# ---- removing ---------------------------------------------------------------------------------------------------------------------------


def drop_jobs(key: ObjectKey, view: View) -> Sequence[Step]:
    """DROP SERVICE for every job of an object; what they wrote stays on the stage, which has its own manifest."""
    schema = schema_of(key.name)
    steps = []
    for row in view.snapshot.rows(services_in(key.name)) if view.snapshot.asked(services_in(key.name)) else _all_rows(view):
        mark = mark_of(row)
        if mark is not None and _is_of(mark, key, view) and _in(row, schema):
            name = schema.child(Identifier(str(row["name"])))
            steps.append(Sql(f"DROP SERVICE {name.sql}", tolerate=frozenset({2003, 2043})))
    return steps


def job_inventory(kind: str, view: View) -> list[Inventory]:
    """One entry for each object of `kind` that has jobs in the account."""
    found: dict[ObjectKey, Mark] = {}
    for row in _all_rows(view):
        mark = mark_of(row)
        parts = [row.get("database_name"), row.get("schema_name")]
        if mark is not None and (mark.project, mark.kind) == (view.project.name, kind) and all(parts) and (name := marked_name(mark)):
            schema = QualifiedName(tuple(Identifier(str(part)) for part in parts))
            found[ObjectKey(kind, schema.child(name))] = mark
    return [Inventory(key, mark) for key, mark in sorted(found.items(), key=lambda item: item[0])]


def _all_rows(view: View) -> list[Mapping[str, Any]]:
    reads = [read for read in view.snapshot.answers if isinstance(read, Show) and read.what == "SERVICES"]
    return [row for read in reads for row in view.snapshot.rows(read)]


def _in(row: Mapping[str, Any], schema: QualifiedName) -> bool:
    """Whether a row of SHOW, which may be of one schema or of the account, is of this schema."""
    places = zip(("database_name", "schema_name"), schema.parts, strict=True)
    return all(row.get(column, part.text) == part.text for column, part in places)


def _is_of(mark: Mark, key: ObjectKey, view: View) -> bool:
    return (mark.project, mark.kind, marked_name(mark)) == (view.project.name, key.kind, key.name.name)
