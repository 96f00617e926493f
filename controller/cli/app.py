"""The command line: every command with its options and its help. What a command does stands in a module of its own, loaded when called.

So `snowcat --help` answers at once: nothing here imports the account's driver, pydantic or rich.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli.options import (
    AccountName,
    ConnectionName,
    Folder,
    Format,
    Listen,
    Local,
    LogFormat,
    OneObject,
    Output,
    Patience,
    PlanFormat,
    StateFolder,
    Timeout,
    Words,
    Yes,
)

HERE = Path()

app = typer.Typer(
    name="snowcat",
    help="Keeps compute pools, images, fine-tunes and model deployments of a Snowflake account the way YAML says.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
local_app = typer.Typer(help="The embedded account of this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(local_app, name="local")


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"snowcat {version('snowcat')}")
        except PackageNotFoundError:
            typer.echo("snowcat, from a folder that is not installed")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")] = False,
) -> None:
    """Keeps compute pools, images, fine-tunes and model deployments of a Snowflake account the way YAML says.

    Exit codes: 0 done, 1 failed, 2 bad usage or invalid manifest, 3 'plan --exit-code' found changes.
    """


# ---- before there is an account --------------------------------------------------------------------------------------------------------


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")]) -> None:
    """Write the lab's manifests into a folder, to start from."""
    from controller.cli.init import init

    init(folder)


@app.command()
def validate(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]...", help="Folders and files; default: here.")] = None,
    account: AccountName = None,
    local: Local = False,
    connection: ConnectionName = None,
) -> None:
    """Check manifests without an account. Exit code 2 when one is invalid."""
    from controller.cli.validate import validate

    raise typer.Exit(validate(paths or [HERE], account, connection, local))


@app.command()
def schema(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="A kind, or Project; default: any manifest.")] = None,
) -> None:
    """Print the JSON Schema of manifests, for editors."""
    from controller.cli.validate import print_schema

    print_schema(kind)


@app.command()
def bootstrap(
    path: Folder = HERE, connection: ConnectionName = None, local: Local = False, account: AccountName = None, state: StateFolder = None
) -> None:
    """Print the SQL that an administrator runs once. With --local it is run too."""
    from controller.cli.bootstrap import bootstrap
    from controller.cli.target import Target

    bootstrap(Target(path, connection, local, account, state))


# ---- plan and apply --------------------------------------------------------------------------------------------------------------------


@app.command()
def plan(
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    offline: Annotated[bool, typer.Option("--offline", help="Plan against an empty account; no connection is needed.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Plan again whenever a file is saved, and show what that changed.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit code 3 when there is something to do.")] = False,
    output: Annotated[PlanFormat, typer.Option("-o", "--output", help="How the plan is printed.")] = PlanFormat.TABLE,
    full: Annotated[bool, typer.Option("--full", help="Cut nothing: whole specifications and long values.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Keep the plan in a file, for 'apply --plan'.")] = None,
) -> None:
    """Show what would be done, and the SQL of it. Changes nothing."""
    from controller.cli.plan import Manner, plan
    from controller.cli.target import Target

    raise typer.Exit(plan(Target(path, connection, local, account, state), offline, watch, exit_code, Manner(output, full), out))


@app.command()
def apply(
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    timeout: Timeout = None,
    allow_prune: Annotated[
        int | None,
        typer.Option("--allow-prune", metavar="N", min=1, help="Let this many objects that are in no manifest any more go at once."),
    ] = None,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Do what a plan of 'plan --out' says, and nothing else.")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say every statement.")] = False,
) -> None:
    """Make the account as the manifests say, and wait until every object is ready."""
    from controller.cli.apply import Manner, apply
    from controller.cli.target import Target

    how = Manner(allow_prune, plan_file, verbose)
    raise typer.Exit(apply(Target(path, connection, local, account, state), timeout, how))


@app.command()
def run(
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How the log on stderr is written.")] = LogFormat.TEXT,
    listen: Listen = None,
) -> None:
    """Keep the account as the manifests say, until stopped. Watches the folder."""
    from controller.cli.apply import run
    from controller.cli.target import Target

    raise typer.Exit(run(Target(path, connection, local, account, state), log_format, listen))


@app.command()
def reconcile(
    what: Words = None,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
) -> None:
    """Ask the running daemon to look now, and to try again what is stalled."""
    from controller.cli.objects import reconcile
    from controller.cli.words import targeted

    reconcile(targeted(what, connection, local, account, state))


@app.command()
def suspend(
    what: Words = None,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
) -> None:
    """Leave objects alone, whole: nothing of them is repaired or dropped until 'snowcat resume'. Holds for every daemon."""
    from controller.cli.pause import suspend
    from controller.cli.words import targeted

    suspend(targeted(what, connection, local, account, state))


@app.command()
def resume(
    what: Words = None,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
) -> None:
    """Work on suspended objects again."""
    from controller.cli.pause import resume
    from controller.cli.words import targeted

    resume(targeted(what, connection, local, account, state))


# ---- look ------------------------------------------------------------------------------------------------------------------------------


@app.command()
def get(
    what: Words = None,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    output: Output = Format.TABLE,
) -> None:
    """List objects with their status."""
    from controller.cli.objects import get
    from controller.cli.words import targeted

    get(targeted(what, connection, local, account, state), output)


@app.command()
def describe(
    what: Words = None,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    output: Output = Format.TABLE,
) -> None:
    """Everything about objects: conditions, what is observed, differences, events."""
    from controller.cli.objects import describe
    from controller.cli.words import targeted

    describe(targeted(what, connection, local, account, state), output)


@app.command()
def events(
    what: Words = None,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    output: Output = Format.TABLE,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 100,
) -> None:
    """What happened, from the local history."""
    from controller.cli.objects import events
    from controller.cli.words import targeted

    events(targeted(what, connection, local, account, state), output, limit)


@app.command()
def export(
    what: Words = None,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    schema: Annotated[str | None, typer.Option("--schema", metavar="D.S", help="Only what is in this schema.")] = None,
    folder: Annotated[
        Path | None, typer.Option("-d", "--dir", metavar="DIR", help="Write files here, a new or empty folder; else all is printed.")
    ] = None,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Say 'adopt: true' in place of 'managementPolicy: observe': apply then marks them as the project's."),
    ] = False,
    project: Annotated[str, typer.Option("--project", metavar="NAME", help="Name of the project that DIR becomes.")] = "exported",
    role: Annotated[
        str | None, typer.Option("--role", metavar="NAME", help="Look as this role; default: the project's, else the connection's.")
    ] = None,
) -> None:
    """Write manifests for what the account has. Changes nothing; the plan of what is written is empty."""
    from controller.cli.export import Manner, export
    from controller.cli.words import targeted

    export(targeted(what, connection, local, account, state), Manner(schema, folder, adopt, project, role))


@app.command()
def why(
    object_: OneObject,
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    output: Output = Format.TABLE,
) -> None:
    """Why an object is not ready: the chain to the one root cause, and what to do."""
    from controller.cli.target import Target
    from controller.cli.why import why

    why(Target(path, connection, local, account, state), object_, output)


@app.command()
def logs(
    object_: OneObject,
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the container ends, or Ctrl-C.")] = False,
    container: Annotated[str | None, typer.Option("--container", help="Which container; default: the first.")] = None,
    instance: Annotated[int, typer.Option("--instance", min=0, help="Which instance.")] = 0,
    lines: Annotated[int, typer.Option("--lines", min=1, max=10000, help="How many lines at first.")] = 200,
    raw: Annotated[bool, typer.Option("--raw", help="Leave a job's lines of progress as they were written, in JSON.")] = False,
) -> None:
    """What a service, a deployment, a workspace or a job has written."""
    from controller.cli.logs import logs
    from controller.cli.target import Target

    logs(Target(path, connection, local, account, state), object_, follow, container, instance, lines, raw)


@app.command("open")
def open_(
    object_: OneObject,
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="Which endpoint; default: the first public one.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it, or only print its URL.")] = True,
    timeout: Patience = 600,
) -> None:
    """Open a service's page in the browser; waits until Snowflake has made its URL."""
    from controller.cli.browse import browse
    from controller.cli.target import Target

    browse(Target(path, connection, local, account, state), object_, endpoint, browser, timeout)


# ---- remove ----------------------------------------------------------------------------------------------------------------------------


@app.command()
def delete(
    object_: OneObject,
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    yes: Yes = False,
    timeout: Timeout = None,
) -> None:
    """Drop one object that Snowcat made. Take its manifest away too, or it is made again."""
    from controller.cli.remove import remove
    from controller.cli.target import Target

    raise typer.Exit(remove(Target(path, connection, local, account, state), object_, yes, timeout))


@app.command()
def destroy(
    path: Folder = HERE,
    connection: ConnectionName = None,
    local: Local = False,
    account: AccountName = None,
    state: StateFolder = None,
    yes: Yes = False,
    timeout: Timeout = None,
) -> None:
    """Drop everything that the project made, in reverse order, and nothing else."""
    from controller.cli.remove import remove
    from controller.cli.target import Target

    raise typer.Exit(remove(Target(path, connection, local, account, state), None, yes, timeout))


# ---- the embedded account --------------------------------------------------------------------------------------------------------------


@local_app.command()
def start(
    state: StateFolder = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: the last one, or any that is free.")] = 0,
    time_scale: Annotated[
        float | None, typer.Option("--time-scale", min=0, help="Multiplies the delays of pools and services; 1 when not set.")
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Offer the endpoint that makes faults happen, for tests.")] = False,
) -> None:
    """Start it in the background, if it is not up."""
    from controller.cli.local import start

    start(state, port, time_scale, faults)


@local_app.command()
def stop(state: StateFolder = None) -> None:
    """Stop it. Everything in it is kept."""
    from controller.cli.local import stop

    stop(state)


@local_app.command()
def status(state: StateFolder = None, output: Output = Format.TABLE) -> None:
    """Whether it runs, and how to connect to it. Exit code 1 when it does not."""
    from controller.cli.local import status

    raise typer.Exit(status(state, output))


@local_app.command()
def reset(state: StateFolder = None, yes: Yes = False) -> None:
    """Stop it and remove everything in it."""
    from controller.cli.local import reset

    reset(state, yes)
