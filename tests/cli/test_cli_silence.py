"""An account that dies while snowcat works with it: said soon, once, with the way out, and with no word of the driver's own."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_support import OBJECTS, PROJECT, Output, Snowcat, environment

SETTINGS = "lease: {seconds: 2}\ntimeouts: {read: 1s, change: 1s}\n"
DRIVER = re.compile(r"Traceback|site-packages|urllib3|Retry|HTTPConnection|attempt\(s\)|\[Errno|25\d{4}:")
SILENT, BACK = '"event": "account does not answer"', '"event": "account answers again"'
WAY_OUT = "'snowcat local start' starts it"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowcat]:
    """One small project, applied."""
    folder = tmp_path_factory.mktemp("silence")
    project = folder / "project"
    project.mkdir()
    (project / "snowcat.yaml").write_text(PROJECT + SETTINGS)
    (project / "objects.yaml").write_text(OBJECTS)
    caller = Snowcat(project, {**environment(folder), "SNOWCAT_LOCAL_STATE": str(folder / "account")})
    assert caller("apply", "--local").code == 0
    yield caller
    caller("local", "stop")


def test_a_daemon_says_once_that_the_account_is_away_and_once_that_it_is_back(local: Snowcat) -> None:
    process = local.start("run", "--local", "--log-format", "json", "--listen", "127.0.0.1:0")
    try:
        output = Output(process)
        began = output.until("all objects are ready")
        url = next(json.loads(line)["url"] for line in began.splitlines() if '"listening"' in line)
        os.kill(json.loads((Path(local.environment["SNOWCAT_LOCAL_STATE"]) / "account.json").read_text())["pid"], signal.SIGKILL)
        said = output.until(SILENT)
        assert WAY_OUT in said and '"event": "not leading' not in said, "before any of its waits is over"
        assert "snowcat_account_up 0.0" in (page := httpx.get(f"{url}/metrics").text)
        assert "snowcat_account_silences_total 1.0" in page
        assert httpx.get(f"{url}/readyz").status_code == 503
        output.until('"event": "not leading')
        assert local("local", "start").code == 0
        output.until(BACK)
        output.until('"event": "leading"')
        output.until("all objects are ready", seconds=30)
        assert "snowcat_account_up 1.0" in httpx.get(f"{url}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    assert output.text.count(SILENT) == output.text.count(BACK) == 1
    assert output.text.count('"event": "standby"') <= 4, output.text
    assert not DRIVER.search(output.text), output.text
    reasons = [event["reason"] for event in json.loads(local("events", "--local", "-o", "json").out)]
    assert reasons.count("AccountUnreachable") == reasons.count("AccountReachable") == 1
