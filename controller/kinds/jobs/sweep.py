"""Several runs of one FineTuneJob: which is started next, which is the best, and what a person sees of them. Pure.

Every run has its own identity and its own attempts, as if it were a job by itself. So nothing is kept about a sweep: its state is that of
its runs, and a grid with another value has one run more to do. A run that failed for good counts as ended; only when all of them failed
has the sweep failed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controller.api.sweep import Sweep
from controller.kinds.base import FieldChange, Gatherer, Health, Observation
from controller.kinds.jobs.service import JobFact
from controller.kinds.jobs.status import Jobs, sentence, share
from controller.kinds.mark import Mark, mark_of

FAILED = "AllRunsFailed"


class State(StrEnum):
    FINISHED = "finished"
    FAILED = "failed"  # for good
    RUNNING = "running"
    DUE = "due"  # its first attempt, or the next one


@dataclass(frozen=True)
class SweptRun:
    """One run: what it sets, its jobs, and the scores of its tuned model (none before it is finished)."""

    values: Mapping[str, Any]
    fact: JobFact
    jobs: Jobs
    scores: Mapping[str, float]

    @property
    def run(self) -> str:
        return self.fact.identity

    @property
    def state(self) -> State:
        if self.fact.result is not None:
            return State.FINISHED
        if self.jobs.next.stalled:
            return State.FAILED
        return State.DUE if self.jobs.next.attempt is not None else State.RUNNING

    @property
    def message(self) -> str:
        """What is to be said of it, for the table."""
        if self.state is State.FAILED:
            return self.jobs.next.stalled
        if self.state is State.RUNNING and self.jobs.last is not None:
            return sentence(self.jobs.last, self.fact.progress or {})
        return ""


class OneListing:
    """A `Gatherer` that looks for the runs' documents in one listing of the job's folder, in place of asking the stage for each of them."""

    def __init__(self, inner: Gatherer, stage: str, folder: str, document: str) -> None:
        self._inner = inner
        self._stage, self._folder = stage, f"{folder}/"
        names = inner.list_stage_files(stage, folder, f".*/{re.escape(document)}") if not inner.offline else {}
        self._ends = ["/" + name.lower() for name in names]

    def read_stage_file(self, stage: str, path: str) -> bytes | None:
        ours = stage == self._stage and path.startswith(self._folder)
        if ours and not any(name.endswith("/" + path.lower()) for name in self._ends):
            return None
        return self._inner.read_stage_file(stage, path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def score(scores: Mapping[str, float], sweep: Sweep) -> float | None:
    """What a run is ranked by; None where it was not scored so."""
    return scores.get(sweep.metric)


def best(runs: Mapping[str, Mapping[str, float]], sweep: Sweep) -> str | None:
    """The best of the finished runs, by their scores; of equal ones the first. None when none has the metric."""
    scored = [(found, run) for run, scores in runs.items() if (found := score(scores, sweep)) is not None]
    if not scored:
        return None
    values = [found for found, _ in scored]
    top = min(values) if sweep.smaller_is_better else max(values)
    return next(run for found, run in scored if found == top)


def due(runs: Sequence[SweptRun], sweep: Sweep) -> SweptRun | None:
    """The run to start now, in the order of the manifest; None while as many run as may. One at a time, so that each finds its room."""
    if sum(run.state is State.RUNNING for run in runs) >= sweep.concurrency:
        return None
    return next((run for run in runs if run.state is State.DUE), None)


def observe_sweep(runs: Sequence[SweptRun], sweep: Sweep, others: Sequence[tuple[str, Mark]]) -> Observation:
    """All runs as one object. `others` are jobs of runs that the sweep has no longer."""
    states = [run.state for run in runs]
    mark, owner = _owned(runs)
    observed: dict[str, Any] = {"runs": [_row(run, sweep) for run in runs]}
    finished = {run.run: run.scores for run in runs if run.state is State.FINISHED}
    if finished and (winner := best(finished, sweep)) is not None:
        observed |= {"best": winner, "metric": sweep.metric}
    if all(state in (State.FINISHED, State.FAILED) for state in states):
        return _ended(runs, sweep, finished, observed, mark, owner)
    started = len(runs) - sum(run.jobs.last is None and run.state is State.DUE for run in runs)
    following = due(runs, sweep)
    if started == 0 and not others:
        text = f"none of {len(runs)} runs has been made"
        return Observation(exists=False, health=Health.MISSING, message=text, reason="Missing", observed=observed)
    drift: tuple[FieldChange, ...] = ()
    if following is not None:
        drift = (FieldChange("runs", f"{started} of {len(runs)} started", sweep.told(following.values), own=started > 0),)
    return Observation(
        exists=True,
        health=Health.PROGRESSING,
        message=_counts(runs),
        reason="Running",
        drift=drift,
        mark=mark,
        markable=mark is not None,
        owner=owner,
        observed=observed,
        progress=_progress(runs),
    )


def _ended(
    runs: Sequence[SweptRun],
    sweep: Sweep,
    finished: Mapping[str, Mapping[str, float]],
    observed: Mapping[str, Any],
    mark: Mark | None,
    owner: str | None,
) -> Observation:
    winner = best(finished, sweep)
    failed = [run for run in runs if run.state is State.FAILED]
    if winner is None:
        text = failure(runs, sweep)
        change = FieldChange("runs", f"{len(failed)} of {len(runs)} failed", "a finished one", own=True)
        return Observation(
            exists=True,
            health=Health.DEGRADED,
            message=text,
            reason=FAILED,
            drift=(change,),
            mark=mark,
            markable=mark is not None,
            owner=owner,
            observed=observed,
        )
    chosen = next(run for run in runs if run.run == winner)
    text = f"best of {len(finished)} runs: {winner} ({sweep.told(chosen.values)}), {sweep.metric} {chosen.scores[sweep.metric]:.4g}"
    text += f"; {len(failed)} failed" if failed else ""
    conditions = {"RunsFailed": (True, "SomeRunsFailed", "; ".join(f"{run.run}: {run.message}" for run in failed))} if failed else {}
    return Observation(
        exists=True,
        message=text,
        reason="Succeeded",
        mark=mark,
        markable=mark is not None,
        owner=owner,
        observed=observed,
        conditions=conditions,
    )


def failure(runs: Sequence[SweptRun], sweep: Sweep) -> str:
    """Why there is no result, once all runs have ended."""
    failed = [run for run in runs if run.state is State.FAILED]
    if len(failed) < len(runs):
        return f"no run has the score {sweep.metric}, which chooses the best; name another one as sweep.metric"
    return f"all {len(runs)} runs failed; the first, {sweep.told(failed[0].values)}: {failed[0].message}"


def _owned(runs: Sequence[SweptRun]) -> tuple[Mark | None, str | None]:
    """The mark that a job carries, and who owns it."""
    for run in runs:
        if run.jobs.last is not None:
            row = run.jobs.last.row
            return mark_of(row), str(row.get("owner") or "") or None
    return None, None


def _row(run: SweptRun, sweep: Sweep) -> dict[str, Any]:
    """One line of the table in the object's status."""
    row: dict[str, Any] = {
        "run": run.run,
        **{sweep.names[path]: value for path, value in run.values.items()},
        "state": run.state.value,
    }
    if run.jobs.last is not None:
        row["attempt"] = run.jobs.last.number
        if run.state is State.RUNNING:
            progress = run.fact.progress or {}
            row["job"] = run.jobs.last.name.name.text
            row |= {key: progress[key] for key in ("phase", "model") if progress.get(key) is not None}
    if (found := score(run.scores, sweep)) is not None:
        row[sweep.metric] = found
    if run.message:
        row["message"] = run.message
    return row


def _counts(runs: Sequence[SweptRun]) -> str:
    """`1 of 4 runs finished, 1 running, 2 due`."""
    counts = {state: sum(run.state is state for run in runs) for state in State}
    words = [f"{counts[state]} {state.value}" for state in (State.RUNNING, State.DUE, State.FAILED) if counts[state]]
    return ", ".join([f"{counts[State.FINISHED]} of {len(runs)} runs finished", *words])


def _progress(runs: Sequence[SweptRun]) -> float:
    parts = [1.0 if run.state in (State.FINISHED, State.FAILED) else share(run.fact.progress or {}) or 0.0 for run in runs]
    return sum(parts) / len(parts)
