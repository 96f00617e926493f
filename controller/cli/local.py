"""`snowcat local`: the embedded account by hand."""

from __future__ import annotations

from pathlib import Path

import typer

from controller.cli.errors import FAILED, Failure
from controller.cli.local_account import LocalAccount, state_folder
from controller.cli.options import Format


def start(state: Path | None, port: int, time_scale: float | None, faults: bool = False) -> None:
    """Start, or say where it already runs."""
    account = LocalAccount(state_folder(state))
    up = account.record()
    record = up or account.start(port=port, time_scale=time_scale, faults=faults)
    if up and port not in (0, up["port"]):
        raise Failure(f"the embedded account is up already, on port {up['port']}; 'snowcat local stop' first")
    if faults and "faults" not in record:
        raise Failure("the embedded account is up already, without the faults endpoint; 'snowcat local stop' first")
    typer.echo(f"{'already up' if up else 'up'}: {record['protocol']}://{record['host']}:{record['port']} (state in {account.folder})")
    if "faults" in record:
        typer.echo(f"faults endpoint: {record['faults']['url']} (its token is in {account.folder / 'account.json'})")


def stop(state: Path | None) -> None:
    account = LocalAccount(state_folder(state))
    typer.echo("stopped" if account.stop() else "it was not running")


def status(state: Path | None, output: Format) -> int:
    """Print where it is; the exit code says whether it is up. The password is never printed."""
    from controller.cli.tables import print_document

    account = LocalAccount(state_folder(state))
    record = account.record()
    told = {"running": record is not None, "state": str(account.folder), "log": str(account.log)}
    if record:
        told |= {key: record[key] for key in ("pid", "host", "port", "account", "user", "timeScale")}
        told["password"] = f"in {account.folder / 'account.json'}"
    if output is Format.TABLE:
        for key, value in told.items():
            typer.echo(f"{key:<10} {str(value).lower() if isinstance(value, bool) else value}")
    else:
        print_document(told, output)
    return 0 if record else FAILED


def reset(state: Path | None, yes: bool) -> None:
    account = LocalAccount(state_folder(state))
    if not account.folder.exists():
        typer.echo(f"there is nothing in {account.folder}")
        return
    if not yes and not typer.confirm(f"Remove the embedded account in {account.folder} with everything in it?"):
        raise Failure("nothing was removed")
    left = account.reset()
    if left:
        typer.echo(f"removed, but not the folder {account.folder}: it holds what the account has not made: {', '.join(left)}")
    else:
        typer.echo("removed")
