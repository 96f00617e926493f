"""The account is stopped or killed: no process survives it, services come back, running jobs have failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import prepare
from runtime_support import AccountProcess, Sql, spec, until

_SERVE = "import os, time; print('pid', os.getppid(), flush=True); time.sleep(600)"


def _processes(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("namespaces", [True, False], ids=["private root", "plain directory"])
def test_kill_and_restart(tmp_path: Path, namespaces: bool) -> None:
    account = AccountProcess(tmp_path / "state", namespaces=namespaces)
    account.start()
    try:
        sql = prepare(account)
        marker = f"MARKER_{os.getpid()}_{namespaces}"
        text = spec("tool:1", command=["python", "-c", _SERVE], MARKER=marker)
        sql(f"CREATE SERVICE lives IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ COMMENT = 'kept'")
        sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ NAME = running ASYNC = TRUE")
        sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${spec('tool:1')}$$ NAME = done")
        sql.wait("lives", "RUNNING")
        sql.wait("running", "RUNNING")
        until(lambda: len(_processes(marker)) >= 2)
        account.kill()
        until(lambda: _processes(marker) == [], explain=lambda: f"survivors {_processes(marker)}")

        account.start()
        again = Sql(account.connect(database="DB", schema="S"))
        row = again.wait("lives", "RUNNING")
        assert row["comment"] == "kept"
        assert again.service("running")["status"] == "FAILED"
        assert again.service("done")["status"] == "DONE"
        assert again.one("SHOW SERVICE CONTAINERS IN SERVICE done")["last_exit_code"] == 0
        assert again.logs("done") == "default command\n"
        assert len(again("SHOW IMAGES IN IMAGE REPOSITORY repo")) == 2
        again.connection.close()
        account.stop()
        left = [Path(f"/proc/{pid}/cmdline").read_text() for pid in _processes(marker)]
        assert left == [], "a clean stop leaves no process either"
        sql.connection.close()
    finally:
        account.stop()


def test_plain_directory_rewrites_paths_and_writes_back(tmp_path: Path) -> None:
    account = AccountProcess(tmp_path / "state", namespaces=False)
    account.start()
    try:
        sql = prepare(account)
        extra = '{"volumes": [{"name": "v", "source": "@st"}], "container.volumeMounts": [{"name": "v", "mountPath": "/data"}]}'
        code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['WHERE']); print(os.environ['SNOWCAT_ROOT'] in sys.argv[1])"
        text = spec(
            "tool:1", command=["python", "-c", code, "/data/out.txt"], extra=extra, WHERE='{"path": "/data/x", "other": "/database"}'
        )
        sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ NAME = plain")
        assert sql.logs("plain") == "True\n"
        sql(f"GET @st/out.txt file://{tmp_path}")
        written = (tmp_path / "out.txt").read_text()
        assert '/data/x"' in written and '{"path": "/data/x"' not in written
        assert '"other": "/database"' in written, "only whole path parts are rewritten"
        sql.connection.close()
    finally:
        account.stop()
