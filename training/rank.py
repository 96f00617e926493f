"""Entry point of one rank: `python -m training.rank CONFIG ROWS BASE WORK OUTPUT`.

The launcher (torchrun) sees only that a rank failed, and stops the others; so the first that fails leaves `outcome.json`
in the work folder, with the exit code that means something to the controller.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, so that no rank trains on after its job was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Run this rank's share of the job; returns the exit code."""
    config_path, rows, base, work, output = (Path(argument) for argument in arguments)
    quiet_libraries()
    from safetensors import SafetensorError

    from training.checkpoint.owner import Owner
    from training.config import TrainingConfig
    from training.errors import BadInputError, OutOfMemoryError, TrainingError, is_disk_full, is_out_of_memory
    from training.files import Folders
    from training.job import Job
    from training.loop import StopFlag

    stop = StopFlag()
    stop.install()
    config = TrainingConfig.model_validate_json(config_path.read_text(encoding="utf-8"))
    owner = Owner.of(work, output, config.run) if os.environ.get("RANK", "0") == "0" else None
    failure: TrainingError | None = None
    try:
        if owner is not None:
            owner.claim()
        Job(config, Folders(base, rows, work, output), stop).run()
    except TrainingError as error:
        failure = error
    except (OSError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        # weights are written to the node's own disk only, and that library does not say where
        place = work if isinstance(error, SafetensorError) else error.filename or output
        failure = BadInputError(f"no room for {place}: {error}; make room on the stage or the node's disk")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failure = OutOfMemoryError(
            f"out of memory: {str(error)[:200]}; make training.maxLength, training.microBatchTokens or "
            "evaluation.batchRows smaller, take method: lora, or a larger instance family"
        )
    if owner is not None:
        owner.release()
    if failure is None:
        return 0
    write_outcome(work, failure.exit_code, str(failure))
    return failure.exit_code


def write_outcome(work: Path, code: int, message: str) -> None:
    """Leave the reason of a failure for the launcher; the first rank to fail wins."""
    try:
        with (work / "outcome.json").open("x", encoding="utf-8") as stream:
            json.dump({"exitCode": code, "message": message}, stream)
    except FileExistsError:
        pass


def quiet_libraries() -> None:
    """Keep the log for what concerns this run."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("DS_LOG_LEVEL", "warning")
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries telling each other what will be renamed
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # that an optional kernel is not installed


def run(arguments: list[str]) -> NoReturn:
    """Be a rank: this process ends with it."""
    die_with_parent()
    try:
        code = main(arguments)
    except Exception as error:  # noqa: BLE001 - the last stop of this process: the trace goes to the log, the code to the launcher
        traceback.print_exc()
        code = 1
        with contextlib.suppress(OSError):  # before torchrun stops the other ranks, which would tell of that
            write_outcome(Path(arguments[3]), code, f"{type(error).__name__}: {str(error)[:500]}; the trace stands above in this log")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a rank that waits for a dead peer at interpreter shutdown would hang


if __name__ == "__main__":
    run(sys.argv[1:])
