"""`snowcat open`: the page of a service's public endpoint, once Snowflake has made its URL."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
import typer

from controller.account.snapshot import Row, Show
from controller.cli.errors import INVALID, Failure
from controller.cli.services import object_named, service_of
from controller.cli.target import Target, opened

_PERIOD = 2.0
_LOGIN = "/sfc-endpoint/login"


def browse(target: Target, text: str, endpoint: str | None, browser: bool, timeout: float) -> None:
    """Wait for the URL, print it, open it.

    Raises:
        Failure: no service, no public endpoint of that name, or no URL in time.
        AccountError: as the account answered.
    """
    with opened(target) as project:
        key = object_named(project, text)
        deadline = time.monotonic() + timeout
        told = False
        with project.pool.session() as session:
            service, _ = service_of(session, key, project.settings.project)
            while True:
                host = ready_host(session.execute(Show("ENDPOINTS", f"SERVICE {service}").sql).rows, endpoint, str(key))
                if host:
                    break
                if time.monotonic() >= deadline:
                    raise Failure(f"{key} has no URL after {timeout:g} seconds; 'snowcat describe {key}' says how it is")
                if not told:
                    typer.echo("the URL is being made; this takes minutes for a new service …", err=True)
                    told = True
                time.sleep(min(_PERIOD, 0.2 if target.local else _PERIOD))
        url = f"{'http' if target.local else 'https'}://{host}/"
        link = (signed_in(target.local_account.start(), host) or url) if target.local else url
        if browser and webbrowser.open(link):
            typer.echo(url)
        else:
            typer.echo(link)  # signs in once, so that only the one who opens it may have it


def ready_host(rows: Sequence[Row], endpoint: str | None, what: str) -> str | None:
    """The host of a public endpoint; None while Snowflake shows a sentence in its place.

    Raises:
        Failure: there is no such endpoint.
    """
    public = [row for row in rows if str(row.get("is_public", "")).lower() == "true"]
    chosen = [row for row in public if endpoint is None or str(row.get("name", "")).lower() == endpoint.lower()]
    if not chosen:
        names = ", ".join(str(row.get("name")) for row in public) or "none"
        raise Failure(f"{what} has no public endpoint{f' {endpoint!r}' if endpoint else ''}; public ones: {names}", INVALID)
    host = str(chosen[0].get("ingress_url") or "").strip()
    return host if "." in host and " " not in host else None


def signed_in(record: Mapping[str, Any], host: str) -> str | None:
    """A URL of the embedded account that signs the browser in, once; None when the account gives none, and the page then asks."""
    form = {"user": record["user"], "password": record["password"], "link": "1"}
    try:
        answer = httpx.post(
            f"http://{record['host']}:{record['port']}{_LOGIN}", data=form, headers={"Host": host}, timeout=10, trust_env=False
        )
        token = answer.json()["token"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    return f"http://{host}{_LOGIN}?{urlencode({'token': token, 'to': '/'})}"
