"""The folder of an embedded account: what is the account's in it, and what is somebody else's and must never be touched.

A folder is an account's when it is empty or holds the account's catalogue. Before the catalogue there are only the few files that a start
writes first. Names alone say little: `images` or `logs` may be anybody's.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from controller.cli.errors import INVALID, Failure

_CATALOGUE = "catalogue.sqlite"
_FIRST = frozenset({"account.log", "lock", "port", "format"})  # there before the catalogue is
_FILES = frozenset({_CATALOGUE, "sessions.sqlite", "tables.duckdb", "account.json", "account.json.new", "password"})
_KEYS = frozenset({"stage-url-key", "vault-key", "faults-key"})
_FOLDERS = frozenset({"stages", "registry", "images", "containers", "logs", "blocks", "controller"})
_OWN = _FIRST | _FILES | _KEYS | _FOLDERS
_BESIDE = ("-wal", "-shm", "-journal", ".wal", ".tmp")  # what SQLite and DuckDB put beside their files
_SHOWN = 5


@dataclass(frozen=True)
class AccountFolder:
    """One folder that is, or is to be, an account's."""

    path: Path

    def make(self) -> None:
        """Make the folder where there is none.

        Raises:
            Failure: it cannot be made, or holds what is no account's.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Failure(f"{self.path} cannot be the folder of an embedded account: {error.strerror}", INVALID) from None
        if others := self._of_others():
            raise Failure(
                f"{self.path} holds {_listed(others)}, which no embedded account has made: name an empty or a new folder with --state",
                INVALID,
            )

    def check_reset(self) -> None:
        """
        Raises:
            Failure: it holds something, and no account.
        """
        if self.path.exists() and self._of_others():
            raise Failure(f"{self.path} does not look like an embedded account; nothing was removed", INVALID)

    def remove(self) -> tuple[str, ...]:
        """Remove what an account makes, and the folder where nothing else is in it; the names of what is left.

        The catalogue goes last, so that a folder whose removal was broken off is still known as an account's.

        Raises:
            Failure: something cannot be removed.
        """
        if not self.path.exists():
            return ()
        try:
            for entry in sorted(self._entries(), key=lambda entry: (entry.name == _CATALOGUE, entry.name)):
                if _is_own(entry.name):
                    _remove(entry)
            left = tuple(entry.name for entry in self._entries())
            if not left:
                self.path.resolve().rmdir()
                if self.path.is_symlink():
                    self.path.unlink()
        except OSError as error:
            raise Failure(f"{error.filename or self.path} cannot be removed: {error.strerror}; the rest of {self.path} is left") from None
        return left

    def _of_others(self) -> list[str]:
        """Names in a folder that is no account's."""
        names = [entry.name for entry in self._entries()]
        return [] if (self.path / _CATALOGUE).is_file() else [name for name in names if name not in _FIRST]

    def _entries(self) -> list[Path]:
        return sorted(self.path.iterdir())


def _is_own(name: str) -> bool:
    databases = (own for own in _OWN if own.endswith((".sqlite", ".duckdb")))
    return name in _OWN or any(name == own + end for own in databases for end in _BESIDE)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
