"""Entry point of the trainer image: `python -m container.trainer` with a TrainingConfig in `SNOWCAT_CONFIG`.

It does what needs the account (reads the rows over SQL, once) and what needs the mounts (checks the base model), then
starts the ranks with torchrun and hands their result on as the exit codes of `training.errors`. The ranks themselves
know neither SQL nor tokens. SIGTERM goes to the ranks: they save and end with 12.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from container import account, paths, results, settings
from container.fetch import HuggingFace, Source, materialise
from container.model_folder import verify
from training.config import TrainingConfig
from training.data import read_json_lines
from training.errors import BadInputError, StoppedError, TrainingError
from training.files import RUN_MANIFEST
from training.progress import Progress, report
from training.rank import die_with_parent


class RanksError(TrainingError):
    """The ranks ended without saying why; the job may be tried again."""


@dataclass
class Ranks:
    """The running torchrun, and whether the platform has asked to stop."""

    process: subprocess.Popen[bytes] | None = None
    stopping: bool = False

    def install(self) -> None:
        """Catch SIGTERM from now on."""
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)


def train(config: TrainingConfig, ranks: Ranks) -> None:
    """Run the fine-tune to its end. Raises TrainingError with the exit code."""
    output = paths.real(config.output.path)
    if _finished(output, config.run.id):
        report(Progress("done", message=f"run {config.run.id} is already finished in {config.output.path}"))
        return
    if settings.number("SNOWFLAKE_JOBS_COUNT", 1) > 1:
        raise BadInputError("this trainer runs on one node: set the FineTuneJob's replicas to 1")
    with tempfile.TemporaryDirectory(prefix="snowcat-train-") as name:
        work = Path(name)
        base = _base(config, work)
        results.prepare(config)
        _write_rows(config, work / "rows.jsonl")
        (work / "config.json").write_text(json.dumps(config.document()), encoding="utf-8")
        if ranks.stopping:
            raise StoppedError("stopped before the training began")
        _run_ranks(work, base, output, ranks)
        results.finish(config, work, output)


def _finished(output: Path, run: str) -> bool:
    try:
        return bool(json.loads((output / RUN_MANIFEST).read_text(encoding="utf-8"))["run"] == run)
    except (OSError, ValueError, KeyError):
        return False


def _base(config: TrainingConfig, work: Path) -> Path:
    if config.base.hugging_face is not None:
        folder = work / "base"
        repository = HuggingFace(id=config.base.hugging_face, revision=config.base.revision)
        materialise(Source(hugging_face=repository), folder, work)
        return folder
    report(Progress("load", message=f"checking the base model in {config.base.path}"))
    folder = paths.real(config.base.path or "")
    verify(folder)
    return folder


def _write_rows(config: TrainingConfig, target: Path) -> None:
    report(Progress("data", message=f"reading the rows of {config.data.table or config.data.path or 'the query'}"))
    count = 0
    with target.open("w", encoding="utf-8") as stream:
        for row in _rows(config):
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            count += 1
    report(Progress("data", message=f"{count} rows read"))


def _rows(config: TrainingConfig) -> Iterator[dict[str, Any]]:
    if config.data.path is not None:
        yield from read_json_lines(paths.real(config.data.path))
        return
    with account.connect() as connection:
        yield from account.read_rows(connection, config.data)


def _run_ranks(work: Path, base: Path, output: Path, ranks: Ranks) -> None:
    processes = settings.number("SNOWCAT_PROCESSES", _gpus() or 1)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, settings.cores() // processes)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(processes), "-m", "training.rank"]
    command += [str(path) for path in (work / "config.json", work / "rows.jsonl", base, work, output)]
    ranks.process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)
    if ranks.stopping:
        ranks.process.send_signal(signal.SIGTERM)
    code = ranks.process.wait()
    outcome = _outcome(work)
    if outcome is not None:
        raise outcome
    if code != 0 and ranks.stopping:
        raise StoppedError("stopped before there was anything to save")
    if code != 0:
        raise RanksError(f"the training processes ended with {code}; the reason stands above in this log")


def _outcome(work: Path) -> TrainingError | None:
    try:
        document = json.loads((work / "outcome.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    error = TrainingError(document["message"])
    error.exit_code = int(document["exitCode"])
    return error


def _gpus() -> int:
    # asked in another process: a CUDA context in this one would hold memory that the ranks need
    ended = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        capture_output=True,
        text=True,
        check=False,
    )
    return int(ended.stdout) if ended.stdout.strip().isdigit() else 0


def main() -> None:
    """Entry point of the container."""
    ranks = Ranks()
    ranks.install()
    try:
        train(settings.document(TrainingConfig, "SNOWCAT_CONFIG"), ranks)
    except TrainingError as error:
        settings.end(error)


if __name__ == "__main__":
    main()
