"""Reads the value of a secret where its manifest points, and makes the tag that tells a rotated one.

Values live in memory only: in no repr, no log, no file. The tag is a salted scrypt hash; it stands in the object's comment, so it is
slow to guess from and short.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from controller.account.redact import redact
from controller.api.secret import ValueFrom
from controller.kinds.base import KindError, Stalled, Waiting

COMMAND_TIMEOUT = 30.0  # seconds
COMMAND_FRESH = 300  # seconds for which a command's answer is used again: password managers ask their user
_EXPORT = ": export it and start snowcat again"
_COST = 2**14  # scrypt's n: 16 MiB and some 40 ms a guess


@dataclass(frozen=True)
class SecretValue:
    """A value and where it came from.

    `text` None: not known, when planning offline, or where there is none to be had here: then `problem` says why, with what to do.
    """

    text: str | None = field(repr=False)
    source: str
    problem: str = ""
    optional: bool = False

    def needed(self) -> None:
        """Say that nothing can be done without it.

        Raises:
            Stalled: there is no value to be had here. `Waiting` instead where the manifest says `optional`.
        """
        if self.problem:
            refusal: type[KindError] = Waiting if self.optional else Stalled
            raise refusal(f"no value for the secret: {self.problem}")

    @property
    def unchecked(self) -> str:
        """What is said of a secret that exists while its value is not known here; '' where nothing stands in the way."""
        return f"its value is not checked: {self.problem.removesuffix(_EXPORT)}" if self.problem else ""

    def __str__(self) -> str:
        return f"the value of {self.source}"


def read_value(where: ValueFrom, folder: Path) -> SecretValue:
    """The value now, or why there is none. `folder` is the manifest's."""
    source = source_of(where)
    try:
        if where.env is not None:
            text = os.environ.get(where.env, "")
            problem = f"the environment variable {where.env} is not set for the snowcat process{_EXPORT}"
        elif where.file is not None:
            text, problem = _from_file(folder / Path(where.file).expanduser())
        else:
            text, problem = _from_command(tuple(where.command or ()), folder, int(time.monotonic() // COMMAND_FRESH))
    except OSError as error:
        text, problem = "", f"{source} cannot be read: {error.strerror}"
    if not text:
        return SecretValue(None, source, problem, where.optional)
    redact.learn([text])
    return SecretValue(text, source)


def source_of(where: ValueFrom) -> str:
    """In words, without arguments of a command, which might hold a secret."""
    if where.env is not None:
        return f"env {where.env}"
    return f"file {where.file}" if where.file is not None else f"command {(where.command or ['?'])[0]}"


def _from_file(path: Path) -> tuple[str, str]:
    if not path.is_file():
        return "", f"there is no file {path}"
    try:
        return path.read_text().rstrip("\r\n"), f"{path} is empty"
    except UnicodeDecodeError:
        return "", f"{path} is not text in UTF-8"


@functools.lru_cache(maxsize=64)
def _from_command(command: tuple[str, ...], folder: Path, _period: int) -> tuple[str, str]:
    """Standard output without its last line break, and why there is none. What a failing command wrote is not told: it may hold the
    secret."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return "", f"there is no command {command[0]!r}"
    except subprocess.TimeoutExpired:
        return "", f"{command[0]!r} did not end in {COMMAND_TIMEOUT:.0f} seconds; does it ask something?"
    except UnicodeDecodeError:
        return "", f"{command[0]!r} did not print text in UTF-8"
    if done.returncode != 0:
        return "", f"{command[0]!r} ended with exit code {done.returncode}; run it by hand to see why"
    return done.stdout.rstrip("\r\n"), f"{command[0]!r} printed nothing"


@functools.lru_cache(maxsize=256)
def tag(text: str, identity: str) -> str:
    """`<salt>$<hash>`. The salt comes from the object's identity, so that two plans of the same secret read the same."""
    salt = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{salt}${hashlib.scrypt(text.encode(), salt=salt.encode(), n=_COST, r=8, p=1, dklen=8).hex()}"
