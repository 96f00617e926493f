"""How a fine-tune ends, as exit codes that the controller acts on.

    0   done
    10  bad data or configuration: the same would happen again, so it is not retried
    11  does not fit into memory: not retried, the message says what to change
    12  stopped by SIGTERM after saving: retried, and resumes
    13  needs a person, such as access to a gated model: not retried until asked to

Anything else is a crash and is retried up to the job's limit.
"""

from __future__ import annotations

import errno


class TrainingError(Exception):
    """Base of the failures whose meaning is known; `exit_code` is what the process ends with."""

    exit_code = 1


class BadInputError(TrainingError):
    """The data, the configuration or the base model is wrong. The message says what, where, and what to do."""

    exit_code = 10


class OutOfMemoryError(TrainingError):
    """The run does not fit into memory. The message says what to make smaller."""

    exit_code = 11


class StoppedError(TrainingError):
    """The process was told to stop; a checkpoint has been written."""

    exit_code = 12


class NeedsPersonError(TrainingError):
    """Only a person can clear the way, for example by asking for access to a model."""

    exit_code = 13


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is an allocation that failed, on a GPU or on the host."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def is_disk_full(error: BaseException) -> bool:
    """Whether there was no room on a disk or a stage for what was to be written."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "no space left on device" in str(error).lower()
