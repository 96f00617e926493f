"""Entry point of the trainer image: `python -m container.trainer` with a TrainingConfig in `SNOWCAT_CONFIG`.

It does what needs the account (reads the rows over SQL, once) and what needs the mounts (checks the base model), then
starts the ranks with torchrun and hands their result on as the exit codes of `training.errors`. The ranks themselves
know neither SQL nor tokens. SIGTERM goes to the ranks: they save and end with 12.
"""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path

from container import nodes, paths, preflight, results, rows, settings
from container.fetch import HuggingFace, Source, materialise
from container.launch import Ranks, gpus
from container.model_folder import verify
from training.config import TrainingConfig
from training.errors import StoppedError, TrainingError
from training.files import RUN_MANIFEST, problems, read_entries
from training.progress import Progress, begin, report


def train(config: TrainingConfig, ranks: Ranks) -> None:
    """Run the fine-tune to its end. Raises TrainingError with the exit code."""
    output = paths.real(config.output.path)
    if _finished(output, config.run.id):
        report(Progress("done", message=f"run {config.run.id} is already finished in {config.output.path}"))
        return
    with tempfile.TemporaryDirectory(prefix="snowcat-train-") as name:
        work = Path(name)
        where = nodes.find(output, config.run.attempt, lambda: ranks.stopping)
        processes = settings.number("SNOWCAT_PROCESSES", 0) or gpus() or 1
        if where.count > 1:
            facts = {"run": config.run.id, "attempt": config.run.attempt, "ranks": processes, "python": platform.python_version()}
            preflight.check_links(where, nodes.port("preflight", nodes.PREFLIGHT_PORT), facts)
        base = _base(config, work)
        preflight.check_places(work, output, where.index, _space(config, base))
        if where.index == 0:
            results.prepare(config)
        _write_rows(config, work / "rows.arrow")
        (work / "config.json").write_text(json.dumps(config.document()), encoding="utf-8")
        if ranks.stopping:
            raise StoppedError("stopped before the training began")
        files = (work / "config.json", work / "rows.arrow", base, work, output)
        ranks.run(where, processes, [str(path) for path in files], work)
        results.finish(config, work, output)


def _finished(output: Path, run: str) -> bool:
    """Whether the run is there with all its files: uploads that an earlier attempt was not told of may have failed."""
    try:
        document = json.loads((output / RUN_MANIFEST).read_text(encoding="utf-8"))
        return bool(document["run"] == run) and not problems(output, read_entries(document), hashes=False)
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
    report(Progress("data", message=f"{rows.fetch(config, target)} rows read"))


def _space(config: TrainingConfig, base: Path) -> int:
    """Bytes that a node's disk must have free: the tuned model, and a checkpoint that is not yet on the stage."""
    model = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    return model * (8 if config.method.full else 1) + model


def main() -> None:
    """Entry point of the container."""
    begin()
    ranks = Ranks()
    ranks.install()
    try:
        train(settings.document(TrainingConfig, "SNOWCAT_CONFIG"), ranks)
    except TrainingError as error:
        settings.end(error)


if __name__ == "__main__":
    main()
