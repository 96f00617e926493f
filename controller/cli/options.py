"""The options that many commands share, so that they are spelt and explained the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class PlanFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    SQL = "sql"
    MARKDOWN = "markdown"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def _seconds(text: str) -> float:
    """A length of time as manifests spell it."""
    from controller.api.parts import duration

    try:
        seconds = duration(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if seconds < 1:
        raise typer.BadParameter(f"{text} is less than a second")
    return seconds


def _address(text: str | None) -> str | None:
    """An address that can be listened on, checked before anything else is done."""
    from controller.dashboard.address import parse_address

    try:
        if text is not None:
            parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Folder = Annotated[Path, typer.Argument(metavar="[PATH]", help="Folder of the project (the one with snowcat.yaml), or a file in it.")]
ConnectionName = Annotated[
    str | None,
    typer.Option("-c", "--connection", metavar="NAME", help="Connection of Snowflake's connections.toml, as for the snow command."),
]
Local = Annotated[bool, typer.Option("--local", help="Use the embedded account of this machine; started when it is not up.")]
AccountName = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Entry of 'accounts' in snowcat.yaml whose values are used.")
]
StateFolder = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", envvar="SNOWCAT_LOCAL_STATE", help="Folder of the embedded account.", show_envvar=True),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="How objects are printed.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
_TIMEOUT = typer.Option("--timeout", metavar="TIME", parser=_seconds, help="Stop waiting after so long: 90s, 5m, 1h (exit code 1).")
Timeout = Annotated[float | None, _TIMEOUT]
Patience = Annotated[float, _TIMEOUT]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen", metavar="HOST:PORT", callback=_address, help="Serve /metrics, /healthz and /readyz here, such as 127.0.0.1:9464."
    ),
]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="[KIND|KIND/NAME|PATH]...", help="Which objects, and the project's folder (default: here).")
]
OneObject = Annotated[str, typer.Argument(metavar="KIND/NAME", help="One object, such as ComputePool/my_pool.")]
