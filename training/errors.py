"""How a fine-tune ends, as exit codes that the controller acts on.

    0   done
    10  bad data or configuration: the same would happen again, so it is not retried
    11  does not fit into memory: not retried, the message says what to change
    12  stopped by SIGTERM after saving: retried, and resumes
    13  needs a person, such as access to a gated model: not retried until asked to

Anything else is a crash and is retried up to the job's limit.
"""

from __future__ import annotations


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
