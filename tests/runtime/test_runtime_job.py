"""Jobs: synchronous and not, exit codes, replicas, cancelling, events, the environment and the session token."""

from __future__ import annotations

import json

import pytest
from runtime_support import AccountProcess, Sql, spec, until
from snowflake.connector import ProgrammingError


def _job(sql: Sql, name: str, code: str, options: str = "", extra: str = "", **env: str) -> dict[str, object]:
    text = spec("tool:1", command=["python", "-c", code], extra=extra, **env)
    return sql.one(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ NAME = {name} {options}")


def test_synchronous_job_prints_and_is_done(sql: Sql) -> None:
    status = _job(sql, "sync", "print('hello')")["status"]
    assert status == "Job SYNC completed successfully with status: DONE."
    assert sql.logs("sync") == "hello\n"
    row = sql.service("sync")
    assert (row["status"], row["is_job"], row["is_async_job"]) == ("DONE", "true", "false")
    assert sql.one("SHOW SERVICE CONTAINERS IN SERVICE sync")["last_exit_code"] == 0
    with pytest.raises(ProgrammingError) as taken:
        _job(sql, "sync", "pass")
    assert taken.value.errno == 2002, "the name stays taken until the job is dropped"
    with pytest.raises(ProgrammingError):
        sql("ALTER SERVICE sync SUSPEND")
    sql("DROP SERVICE sync")
    _job(sql, "sync", "pass")


def test_both_orders_of_clauses_and_a_default_name(sql: Sql) -> None:
    text = spec("tool:1")
    row = sql.one(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool ASYNC = FALSE COMMENT = 'x' FROM SPECIFICATION $${text}$$")
    name = str(row["status"]).split()[1]
    assert name.startswith("JOB_")
    assert sql.logs(name) == "default command\n"


def test_exit_code_fails_the_job_and_says_so(sql: Sql) -> None:
    with pytest.raises(ProgrammingError) as failed:
        _job(sql, "failing", "raise SystemExit(11)")
    assert "exit code 11" in str(failed.value.msg)
    row = sql.one("SHOW SERVICE CONTAINERS IN SERVICE failing")
    assert (row["status"], row["last_exit_code"], row["instance_status"]) == ("FAILED", 11, "FAILED")
    assert sql.service("failing")["status"] == "FAILED"


def test_killed_process_and_missing_program(sql: Sql) -> None:
    with pytest.raises(ProgrammingError) as killed:
        _job(sql, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "exit code 137" in str(killed.value.msg)
    text = spec("tool:1", command=["no-such-program"])
    with pytest.raises(ProgrammingError):
        sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ NAME = missing")
    assert "does not exist in the container" in sql.logs("missing")


def test_events_come_in_the_documented_order(sql: Sql) -> None:
    _job(sql, "ordered", "import time; time.sleep(0.3)")
    events = [
        (row["EVENT_NAME"].partition(".")[0], json.loads(row["EVENT_DETAILS"])["status"])
        for row in sql("SELECT * FROM TABLE(ordered!SPCS_GET_EVENTS())")
    ]
    assert events[-4:] == [
        ("SERVICE_INSTANCE", "READY"),
        ("CONTAINER", "DONE"),
        ("SERVICE", "DONE"),
        ("SERVICE_INSTANCE", "SUCCEEDED"),
    ]
    for later, earlier in ((("SERVICE", "RUNNING"), ("CONTAINER", "READY")), (("CONTAINER", "READY"), ("CONTAINER", "PENDING"))):
        assert events.index(later) > events.index(earlier)
    _job(sql, "spoken", "import sys; print('out'); print('err', file=sys.stderr)")
    logs = sql("SELECT * FROM TABLE(spoken!SPCS_GET_LOGS())")
    assert {(r["LOG"], json.loads(r["RECORD_ATTRIBUTES"])["log.iostream"]) for r in logs} == {("out", "stdout"), ("err", "stderr")}


def test_replicas_know_their_index_and_share_a_tcp_port(sql: Sql) -> None:
    extra = json.dumps({"endpoints": [{"name": "rendezvous", "port": 29500, "protocol": "TCP"}]})
    code = "import os, sys; print(os.environ['SNOWFLAKE_JOB_INDEX'], os.environ['SNOWFLAKE_JOBS_COUNT'], sys.argv[1], os.environ['PORT'])"
    text = spec("tool:1", command=["python", "-c", code, "--port=29500"], extra=extra)
    sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ NAME = many REPLICAS = 3")
    lines = [sql.logs("many", instance=str(n)).split() for n in range(3)]
    assert [line[:2] for line in lines] == [["0", "3"], ["1", "3"], ["2", "3"]]
    ports = {line[2].removeprefix("--port=") for line in lines} | {line[3] for line in lines}
    assert len(ports) == 1, "the replicas meet at one port"


def test_async_job_is_cancelled_with_sigterm(sql: Sql) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('told to end', flush=True), sys.exit(0)))\n"
        "print('up', flush=True)\n"
        "time.sleep(600)"
    )
    assert "submitted" in str(_job(sql, "cancelled", code, "ASYNC = TRUE")["status"])
    until(lambda: "up" in sql.logs("cancelled"))
    sql.wait("cancelled", "RUNNING")
    assert sql.one("SHOW COMPUTE POOLS LIKE 'pool'")["num_jobs"] >= 1
    sql("CALL cancelled!SPCS_CANCEL_JOB()")
    sql.wait("cancelled", "CANCELLED")
    assert "told to end" in sql.logs("cancelled")


def test_deaf_process_and_its_children_are_killed_after_the_grace(sql: Sql) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('deaf', flush=True)\n"
        "time.sleep(600)"
    )
    _job(sql, "deaf", code, "ASYNC = TRUE")
    until(lambda: "deaf" in sql.logs("deaf"))
    assert "requested" in sql.value("SELECT db.s.deaf!SPCS_CANCEL_JOB()")
    sql.wait("deaf", "CANCELLED")


def test_waiting_for_a_status(sql: Sql) -> None:
    _job(sql, "awaited", "import time; time.sleep(0.2)", "ASYNC = TRUE")
    assert "DONE" in sql.value("CALL awaited!SPCS_WAIT_FOR('DONE', 30)")
    with pytest.raises(ProgrammingError) as impossible:
        sql("CALL awaited!SPCS_WAIT_FOR('RUNNING', 5)")
    assert "Current status: DONE" in str(impossible.value.msg)
    history = sql("SELECT NAME, STATUS FROM TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY())")
    assert {"NAME": "AWAITED", "STATUS": "DONE"} in history


def test_environment_is_that_of_the_service_and_nothing_of_the_host(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    _job(sql, "environment", "import json, os; print(json.dumps(dict(os.environ)))", A="1")
    seen = json.loads(sql.logs("environment"))
    assert seen["A"] == "1"
    assert (seen["SNOWFLAKE_DATABASE"], seen["SNOWFLAKE_SCHEMA"], seen["SNOWFLAKE_SERVICE_NAME"]) == ("DB", "S", "ENVIRONMENT")
    assert "SNOWFLAKE_JOB_INDEX" not in seen, "only with REPLICAS"
    assert "OMP_NUM_THREADS" not in seen, "the host's environment stays outside"


def test_session_token_logs_in_as_the_owner(account: AccountProcess, sql: Sql) -> None:
    code = (
        "import os, stat, snowflake.connector as c\n"
        "path = os.environ.get('SNOWCAT_ROOT', '') + '/snowflake/session/token'\n"
        "print(oct(stat.S_IMODE(os.stat(path).st_mode)))\n"
        "con = c.connect(account=os.environ['SNOWFLAKE_ACCOUNT'], host=os.environ['SNOWFLAKE_HOST'],\n"
        "  port=int(os.environ['SNOWFLAKE_PORT']), protocol=os.environ['SNOWFLAKE_PROTOCOL'], authenticator='oauth',\n"
        "  token=open(path).read(), database=os.environ['SNOWFLAKE_DATABASE'], schema=os.environ['SNOWFLAKE_SCHEMA'])\n"
        "print(con.cursor().execute('select current_role(), current_schema()').fetchone())"
    )
    _job(sql, "logged_in", code)
    assert sql.logs("logged_in").splitlines() == ["0o600", "('ACCOUNTADMIN', 'S')"]


def test_secrets_arrive_as_variables_and_files_and_not_in_describe(sql: Sql) -> None:
    sql("CREATE SECRET token TYPE = GENERIC_STRING SECRET_STRING = 'open-sesame'")
    extra = json.dumps(
        {
            "container.secrets": [
                {"snowflakeSecret": "token", "envVarName": "TOKEN", "secretKeyRef": "secret_string"},
                {"snowflakeSecret": {"objectName": "db.s.token"}, "directoryPath": "/secrets"},
            ]
        }
    )
    code = (
        "import os; root = os.environ.get('SNOWCAT_ROOT', '')\n"
        "print(os.environ['TOKEN'][::-1], open(root + '/secrets/secret_string').read()[::-1])"
    )
    _job(sql, "secretive", code, extra=extra)
    assert sql.logs("secretive") == "emases-nepo emases-nepo\n"
    assert "open-sesame" not in sql.service("secretive")["spec"]


def test_image_files_are_private_to_an_instance(sql: Sql) -> None:
    code = (
        "import os, pathlib\n"
        "path = pathlib.Path('readme.txt'); print(path.read_text()); path.write_text('changed')\n"
        "print(os.getcwd().endswith('/app'))"
    )
    _job(sql, "writer_one", code)
    _job(sql, "writer_two", code)
    assert sql.logs("writer_two").splitlines() == ["tool", "True"]
