"""Reads the files that connections are written in: `connections.toml`, `config.toml`, and the lab's `connection.json`."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import PlatformDirs

from controller.account.errors import LoginFailed


@dataclass(frozen=True)
class Found:
    """One section of a file: its name, where it stands, and what it says (with secrets: never printed)."""

    name: str
    source: str
    values: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Found({self.name!r}, {self.source!r})"


def config_folder(environ: Mapping[str, str]) -> Path:
    """`$SNOWFLAKE_HOME` (default `~/.snowflake`) when it exists, else the platform's configuration folder for `snowflake`."""
    home = Path(environ.get("SNOWFLAKE_HOME", "~/.snowflake")).expanduser()
    return home if home.exists() else Path(PlatformDirs(appname="snowflake", appauthor=False).user_config_path)


def find_section(name: str | None, environ: Mapping[str, str], known_by_environment: Collection[str] = ()) -> Found | None:
    """The named section, or the default one; None when there is no file at all, or no default in it.

    A name that stands in no file but in variables of its own (`known_by_environment` is not empty) is an empty section.

    Raises:
        LoginFailed: a file cannot be read, or has no section of that name.
    """
    folder = config_folder(environ)
    config_file, connections_file = folder / "config.toml", folder / "connections.toml"
    config = _read(config_file)
    sections, source = (_read(connections_file) or None), connections_file
    if sections is None:
        sections, source = config.get("connections") or {}, config_file
    default = str(config.get("default_connection_name") or "default")
    default = str(sections.pop("default_connection_name", default)) if isinstance(sections.get("default_connection_name"), str) else default
    wanted = name or default
    section = next((value for key, value in sections.items() if key == wanted or key.lower() == wanted.lower()), None)
    if isinstance(section, Mapping):
        return Found(wanted, f"{source}, [{wanted}]", dict(section), _loose_permissions(source, environ))
    if name is None:
        return None
    if known_by_environment:
        return Found(name, f"SNOWFLAKE_CONNECTIONS_{name.upper()}_* variables", {})
    known = ", ".join(sorted(key for key, value in sections.items() if isinstance(value, Mapping))) or "none"
    raise LoginFailed(f"no connection {name!r} in {connections_file} or {config_file}; known: {known}")


def lab_file(path: Path) -> Found:
    """The lab's `connection.json`, with a warning that names the better way.

    Raises:
        LoginFailed: the file is missing or is no JSON object.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise LoginFailed(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # the decoder's own message may hold a part of the text: only the position is passed on
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise LoginFailed(f"{path} is not JSON{where}") from None
    if not isinstance(values, dict):
        raise LoginFailed(f"{path} must hold one JSON object")
    warnings = [
        f"{path}: a connection.json keeps a password beside the code; move it to ~/.snowflake/connections.toml (mode 0600) and use -c NAME"
    ]
    if values.get("huggingface_token"):
        warnings.append(f"{path}: huggingface_token is not used; declare a Secret with `valueFrom: {{env: HF_TOKEN}}` and set HF_TOKEN")
    if values.get("compute_pool"):
        warnings.append(f"{path}: compute_pool is not used; the manifests name the pool (a value in snowcat.yaml changes it)")
    kept = {key: value for key, value in values.items() if key not in {"huggingface_token", "compute_pool"}}
    return Found(path.stem, str(path), kept, tuple(warnings))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise LoginFailed(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        where = str(error).rsplit("(", 1)[-1].rstrip(")") if isinstance(error, tomllib.TOMLDecodeError) else "not UTF-8"
        raise LoginFailed(f"{path} is not TOML ({where})") from None


def _loose_permissions(path: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """A warning when others may read the file; not inside a service and not on systems without such modes."""
    skip = {"SF_SKIP_WARNING_FOR_READ_PERMISSIONS_ON_CONFIG_FILE", "SNOWFLAKE_RUNNING_INSIDE_SPCS"} & environ.keys()
    if skip or os.name != "posix" or not stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return ()
    return (f'{path} can be read by others: run `chmod 0600 "{path}"`',)
