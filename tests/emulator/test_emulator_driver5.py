"""The same account through driver 5 (a rewrite on a Rust core), which needs an environment of its own.

`SNOWCAT_CONNECTOR5_PYTHON` names its interpreter; without it an environment is made once under `.cache/connector5`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from embedded_account import ROOT, RunningAccount

SCRIPT = r"""
import json, os, sys, time
import snowflake.connector as sc
details, folder = json.load(open(sys.argv[1])), sys.argv[2]
keys = ("host", "port", "protocol", "account", "user", "password")
connection = sc.connect(**{k: details[k] for k in keys})
cursor = connection.cursor()
run = lambda text: cursor.execute(text).fetchall()
out = {"version": sc.__version__}
run("CREATE WAREHOUSE IF NOT EXISTS TEST_WH"); run("USE WAREHOUSE TEST_WH")
run("CREATE OR REPLACE DATABASE DRIVER5"); run("CREATE STAGE s")
run("CREATE TABLE t (a INT, n NUMBER(10,2), at TIMESTAMP_NTZ, v VARIANT)")
run("INSERT INTO t SELECT 1, 2.5, '2024-05-06 07:08:09'::TIMESTAMP_NTZ, PARSE_JSON('[1]')")
out["row"] = [str(value) for value in run("SELECT a, n, at, v[0]::INT FROM t")[0]]
out["show"] = [row[1] for row in run("SHOW STAGES")]
for error in ("SELECT * FROM nope", "SELEC 1"):
    try:
        run(error)
    except sc.errors.Error as caught:
        out[error] = [caught.errno, caught.sqlstate]
open(folder + "/up.txt", "w").write("hello")
run(f"PUT file://{folder}/up.txt @s AUTO_COMPRESS = FALSE OVERWRITE = TRUE")
out["again"] = run(f"PUT file://{folder}/up.txt @s AUTO_COMPRESS = FALSE OVERWRITE = FALSE")[0][6]
os.makedirs(folder + "/down")
run(f"GET @s file://{folder}/down/")
out["file"] = open(folder + "/down/up.txt").read()
cursor.execute_async("SELECT 5")
query_id = cursor.sfqid
while connection.is_still_running(connection.get_query_status(query_id)):
    time.sleep(0.02)
cursor.get_results_from_sfqid(query_id)
out["async"] = cursor.fetchall()
try:
    sc.connect(**{**{k: details[k] for k in keys}, "password": "wrong"})
except sc.errors.Error as caught:
    out["refused"] = "Incorrect username or password" in str(caught)
print(json.dumps(out))
connection.close()
"""


@pytest.fixture(scope="session")
def python5() -> str:
    given = os.environ.get("SNOWCAT_CONNECTOR5_PYTHON")
    if given:
        return given
    home = ROOT / ".cache" / "connector5"
    ready = home / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "-q", "snowflake-connector-python>=5,<6"], check=True)
        ready.touch()
    return str(home / "bin" / "python")


def test_driver_5_works(account: RunningAccount, python5: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [python5, "-W", "ignore", str(script), str(account.state / "account.json"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("version").startswith("5.")
    assert found == {
        "row": ["1", "2.50", "2024-05-06 07:08:09", "1"],
        "show": ["S"],
        "SELECT * FROM nope": [2003, "42S02"],
        "SELEC 1": [1003, "42000"],
        "again": "SKIPPED",
        "file": "hello",
        "async": [[5]],
        "refused": True,
    }
