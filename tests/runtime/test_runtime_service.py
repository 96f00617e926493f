"""Services are real processes: they become ready, answer, are upgraded, restarted, suspended and dropped."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
import yaml
from runtime_support import AccountProcess, Sql, spec, until
from snowflake.connector import ProgrammingError
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

_API = json.dumps(
    {
        "endpoints": [{"name": "api", "port": 8000, "public": True}],
        "container.readinessProbe": {"port": 8000, "path": "/healthz"},
    }
)


def _create(sql: Sql, name: str, text: str, options: str = "") -> None:
    sql(f"CREATE SERVICE {name} IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ {options}")


def _ask(account: AccountProcess, sql: Sql, name: str, path: str = "/x", **headers: str) -> httpx.Response:
    host = sql.one(f"SHOW ENDPOINTS IN SERVICE {name}")["ingress_url"]
    auth = {"Authorization": f'Snowflake Token="{sql.connection.rest.token}"'}
    return httpx.get(f"http://{account.host}{path}", headers={"Host": host, **auth, **headers}, trust_env=False)


def _ready_host(sql: Sql, name: str) -> None:
    until(lambda: "." in sql.one(f"SHOW ENDPOINTS IN SERVICE {name}")["ingress_url"].split(" ")[0])


def test_life_of_a_service(account: AccountProcess, sql: Sql) -> None:
    _create(sql, "life", spec("server:1", extra=_API, VERSION="one"), "COMMENT = 'hello'")
    first = sql.service("life")
    assert (first["status"], first["is_upgrading"], first["comment"], first["resumed_on"]) == ("PENDING", "false", "hello", None)
    sql.wait("life", "RUNNING")
    _ready_host(sql, "life")
    answer = _ask(account, sql, "life").json()
    assert answer["version"] == "one"
    assert answer["headers"]["sf-context-current-user"] == "ADMIN"
    assert "authorization" not in answer["headers"], "the caller's token must not reach the container"
    container = sql.one("SHOW SERVICE CONTAINERS IN SERVICE life")
    assert (container["status"], container["instance_id"], container["restart_count"]) == ("READY", "0", 0)
    assert sql.one("SHOW COMPUTE POOLS LIKE 'pool'")["state"] == "ACTIVE"
    assert "listening" in sql.logs("life")

    sql("ALTER SERVICE life SUSPEND")
    assert sql.service("life")["status"] == "SUSPENDING"
    sql.wait("life", "SUSPENDED")
    assert sql.one("SHOW SERVICE INSTANCES IN SERVICE life")["instance_id"] is None
    assert sql.service("life")["suspended_on"] is not None
    sql("ALTER SERVICE life RESUME")
    assert sql.wait("life", "RUNNING")["resumed_on"] is not None
    sql("DROP SERVICE life")
    with pytest.raises(ProgrammingError) as gone:
        sql("DESCRIBE SERVICE life")
    assert gone.value.errno == 2003


def test_ingress_refuses_and_streams(account: AccountProcess, sql: Sql) -> None:
    _create(sql, "door", spec("server:1", extra=_API))
    assert sql.one("SHOW ENDPOINTS IN SERVICE door")["ingress_url"].startswith("Endpoints provisioning in progress")
    sql.wait("door", "RUNNING")
    _ready_host(sql, "door")
    host = sql.one("SHOW ENDPOINTS IN SERVICE door")["ingress_url"]
    url = f"http://{account.host}"
    with httpx.Client(base_url=url, headers={"Host": host}, trust_env=False) as bare:
        assert bare.get("/x").status_code == 401
        page = bare.get("/x", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (302, "/sfc-endpoint/login?to=/x")
        assert bare.post("/sfc-endpoint/login", data={"user": "admin", "password": "no"}).status_code == 401
        credentials = {"user": account.info["user"], "password": account.info["password"]}
        signed = bare.post("/sfc-endpoint/login?to=/x", data=credentials)
        cookie = signed.headers["set-cookie"].partition(";")[0]
        assert bare.get("/x", headers={"Cookie": cookie}).json()["headers"].get("cookie", "") == ""
        link = bare.post("/sfc-endpoint/login", data={**credentials, "link": "1"}).json()["token"]
        assert bare.get("/sfc-endpoint/login", params={"token": link, "to": "/x"}).status_code == 303
        assert bare.get("/sfc-endpoint/login", params={"token": link}).status_code == 200, "a link works once"
        unknown = bare.get("/x", headers={"Host": "0000000000-snowcat-local.localhost", "Cookie": cookie})
        assert unknown.status_code == 404
    assert _ask(account, sql, "door", "/sse").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    sql("ALTER SERVICE door SET AUTO_RESUME = FALSE")
    sql("ALTER SERVICE door SUSPEND")
    sql.wait("door", "SUSPENDED")
    assert _ask(account, sql, "door").status_code == 503
    sql("DROP SERVICE door")


_SOCKET_SERVER = """
import asyncio, os, websockets

async def echo(socket):
    await socket.send(socket.request.headers["Sf-Context-Current-User"] + " " + socket.request.path)
    async for message in socket:
        await socket.send(message)

async def main():
    async with websockets.serve(echo, "0.0.0.0", int(os.environ["SNOWCAT_PORT"]), subprotocols=["chat"]):
        await asyncio.Future()

asyncio.run(main())
"""


def test_websocket_passes_both_ways(account: AccountProcess, sql: Sql) -> None:
    endpoint = json.dumps({"endpoints": [{"name": "api", "port": 9000, "public": True}]})
    _create(sql, "socket", spec("tool:1", command=["python", "-c", _SOCKET_SERVER], extra=endpoint))
    sql.wait("socket", "RUNNING")
    _ready_host(sql, "socket")
    host = sql.one("SHOW ENDPOINTS IN SERVICE socket")["ingress_url"]
    headers = {"Authorization": f'Snowflake Token="{sql.connection.rest.token}"'}

    async def talk() -> tuple[str | None, list[str | bytes]]:
        url = f"ws://{host}/a/b?c=d"
        where = {"host": account.info["host"], "port": account.info["port"]}
        async with connect(url, additional_headers=headers, subprotocols=["chat"], proxy=None, **where) as socket:
            await socket.send("text")
            await socket.send(b"bytes")
            return socket.subprotocol, [await socket.recv() for _ in range(3)]

    def attempt() -> bool:
        try:
            answers.append(asyncio.run(talk()))
        except WebSocketException:
            return False  # without a readiness probe the server may not listen yet
        return True

    answers: list[tuple[str | None, list[str | bytes]]] = []
    until(attempt)
    assert answers == [("chat", ["ADMIN /a/b?c=d", "text", b"bytes"])]
    headers.clear()
    with pytest.raises(WebSocketException):
        asyncio.run(talk())
    sql("DROP SERVICE socket")


def test_describe_gives_the_normalised_specification(sql: Sql) -> None:
    _create(sql, "described", spec("server:1", extra=_API, NUMBER="8000"))
    row = sql.service("described")
    text = row["spec"]
    assert text.startswith('---\nspec:\n  containers:\n  - name: "main"\n    image: "/db/s/repo/server:1"\n    sha256: "@sha256:')
    container = yaml.safe_load(text)["spec"]["containers"][0]
    assert container["env"] == {"NUMBER": "8000"}
    assert container["resources"] == {
        "limits": {"memory": "28Gi", "cpu": "6"},
        "requests": {"memory": "0.5Gi", "cpu": "0.5"},
    }
    assert len(row["spec_digest"]) == 64
    sql("DROP SERVICE described")


def test_rolling_upgrade_replaces_from_the_highest_instance_down(account: AccountProcess, sql: Sql) -> None:
    _create(sql, "rolling", spec("server:1", extra=_API, VERSION="one"), "MIN_INSTANCES = 2")
    old = sql.wait("rolling", "RUNNING")["spec_digest"]
    sql(f"ALTER SERVICE rolling FROM SPECIFICATION $${spec('server:1', extra=_API, VERSION='two')}$$")
    row = sql.service("rolling")
    assert row["spec_digest"] != old
    assert row["is_upgrading"] == "true"
    seen: set[tuple[bool, ...]] = set()

    def finished() -> bool:
        rows = sql("SHOW SERVICE INSTANCES IN SERVICE rolling")
        seen.add(tuple(r["spec_digest"] == old for r in rows if r["instance_id"]))
        return sql.service("rolling")["is_upgrading"] == "false"

    until(finished)
    assert (False, True) not in seen, "instance 0 must not be replaced before instance 1"
    assert {r["spec_digest"] for r in sql("SHOW SERVICE INSTANCES IN SERVICE rolling")} == {row["spec_digest"]}
    sql.wait("rolling", "RUNNING")
    assert _ask(account, sql, "rolling").json()["version"] == "two"
    sql(f"ALTER SERVICE rolling FROM SPECIFICATION $${spec('server:1', extra=_API, VERSION='two')}$$")
    assert sql.service("rolling")["is_upgrading"] == "false", "the same specification changes nothing"
    sql("DROP SERVICE rolling")


def test_crashing_container_is_restarted_ever_later(sql: Sql) -> None:
    _create(sql, "crash", spec("tool:1", command=["python", "-c", "print('once'); raise SystemExit(7)"]))
    until(lambda: (sql.one("SHOW SERVICE CONTAINERS IN SERVICE crash")["restart_count"] or 0) >= 2)
    row = sql.one("SHOW SERVICE CONTAINERS IN SERVICE crash")
    assert row["last_exit_code"] == 7
    assert row["message"] in ("Container exited with exit code 7", "Running", "Waiting to start")
    assert "once" in sql.value("CALL SYSTEM$GET_SERVICE_LOGS('crash', '0', 'main', 10, TRUE)")
    sql("DROP SERVICE crash")


def test_liveness_probe_restarts(sql: Sql) -> None:
    extra = json.dumps({"container.livenessProbe": {"port": 8000, "path": "/healthz", "periodSeconds": 1, "failureThreshold": 2}})
    _create(sql, "frozen", spec("tool:1", command=["python", "-c", "import time; time.sleep(600)"], extra=extra))
    until(lambda: (sql.one("SHOW SERVICE CONTAINERS IN SERVICE frozen")["restart_count"] or 0) >= 1)
    sql("DROP SERVICE frozen")


_BAD_SPECS = [
    (
        "spec: {container: []}",
        "unknown option 'container' for 'spec'",
        "old preview key",
    ),
    (
        "spec: {containers: []}",
        "invalid 'containers'. Value is empty",
        "no container",
    ),
    (
        "spec: {containers: [{$MAIN, volumeMounts: []}]}",
        "invalid 'volumeMounts'. Value is empty",
        "empty mounts",
    ),
    (
        "spec: {containers: [{$MAIN, readinessProbe: {path: /x}}]}",
        "missing 'port' for 'readinessProbe'",
        "probe without port",
    ),
    (
        "spec: {containers: [{name: Main, image: /db/s/repo/server:1}]}",
        "invalid 'name' for 'containers[0]'",
        "upper case name",
    ),
    (
        "spec: {containers: [{name: main, image: /db/s/repo/none:1}]}",
        "image none:1 of container 'main' was not found",
        "no such image",
    ),
    (
        "spec: {containers: [{name: main, image: server}]}",
        "invalid image 'server'",
        "no repository in the image",
    ),
    (
        "spec: {containers: [{$MAIN, resources: {requests: {memory: 400Gi}}}]}",
        "a node of CPU_X64_M offers 28Gi",
        "never fits",
    ),
    (
        "spec: {containers: [{$MAIN, resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 1}}}]}",
        "(nvidia.com/gpu)",
        "no GPU in the family",
    ),
    (
        "spec: {containers: [{$MAIN}], serviceRoles: []}",
        "unknown option 'serviceRoles' for 'spec'",
        "roles in the wrong place",
    ),
    (
        "spec: {containers: [{$MAIN}], endpoints: [{name: a, port: 1, authenticationPolicy: x}]}",
        "unknown option 'authenticationPolicy' for 'endpoints[0]'",
        "unknown endpoint option",
    ),
    (
        "spec:\n\tx",
        "is not valid YAML",
        "tab",
    ),
]


@pytest.mark.parametrize(("text", "message", "reason"), _BAD_SPECS, ids=[row[2] for row in _BAD_SPECS])
def test_bad_specifications_are_named(sql: Sql, text: str, message: str, reason: str) -> None:
    with pytest.raises(ProgrammingError) as refused:
        _create(sql, "bad", text.replace("$MAIN", "name: main, image: /db/s/repo/server:1"))
    assert refused.value.errno == 395018, reason
    assert refused.value.sqlstate == "22023"
    assert message in str(refused.value.msg)


def test_errors_around_services(sql: Sql) -> None:
    text = spec("server:1", extra=_API)
    _create(sql, "taken", text)
    cases = [
        (f"CREATE SERVICE taken IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$", 2002, "name taken"),
        (f"CREATE SERVICE x IN COMPUTE POOL nopool FROM SPECIFICATION $${text}$$", 2003, "no such pool"),
        ("CREATE SERVICE x IN COMPUTE POOL pool", 2029, "no specification"),
        (f"CREATE SERVICE x IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ MIN_INSTANCES = 2 MAX_INSTANCES = 1", 1422, "min over max"),
        (f"CREATE SERVICE x IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ COLOUR = 1", 1420, "unknown option"),
        ("CREATE SERVICE x IN COMPUTE POOL pool FROM SPECIFICATION_TEMPLATE $$spec: {{ missing }}$$ USING (a => 1)", 395069, "template"),
        ("DROP COMPUTE POOL pool", 392511, "pool with services"),
        ("ALTER SERVICE nothing SUSPEND", 2003, "no such service"),
    ]  # fmt: skip
    for statement, errno, reason in cases:
        with pytest.raises(ProgrammingError) as refused:
            sql(statement)
        assert refused.value.errno == errno, f"{reason}: {refused.value}"
    status = sql.one(f"CREATE SERVICE IF NOT EXISTS taken IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$")["status"]
    assert "already exists" in status
    sql("DROP SERVICE taken")
    assert "already dropped" in sql.one("DROP SERVICE IF EXISTS taken")["status"]


def test_options_before_the_specification_template_and_stage_file(sql: Sql, tmp_path: object) -> None:
    template = spec("{{ image }}", extra=_API, VERSION="{{ version | default('none') }}").replace("}}", "}}")
    sql(
        "CREATE SERVICE templated MIN_INSTANCES = 1 IN COMPUTE POOL pool COMMENT = 'c' "
        f"FROM SPECIFICATION_TEMPLATE $${template}$$ USING (image => 'server:1')"
    )
    assert yaml.safe_load(sql.service("templated")["spec"])["spec"]["containers"][0]["env"]["VERSION"] == "none"
    sql("DROP SERVICE templated")
    path = f"{tmp_path}/service.yaml"
    with open(path, "w") as file:
        file.write(spec("server:1", extra=_API))
    sql(f"PUT file://{path} @st/specs AUTO_COMPRESS = FALSE")
    sql("CREATE SERVICE staged IN COMPUTE POOL pool FROM @st/specs SPECIFICATION_FILE = 'service.yaml'")
    assert sql.one("SHOW SERVICES LIKE 'staged' IN SCHEMA db.s")["name"] == "STAGED"
    sql("DROP SERVICE staged")


def test_unset_brings_defaults_back(sql: Sql) -> None:
    _create(sql, "plain", spec("server:1", extra=_API), "MIN_INSTANCES = 1 MAX_INSTANCES = 2 COMMENT = 'c' QUERY_WAREHOUSE = wh")
    assert sql.service("plain")["query_warehouse"] == "WH"
    sql("ALTER SERVICE plain SET MIN_INSTANCES = 2 MAX_INSTANCES = 3 AUTO_RESUME = FALSE COMMENT = 'd'")
    row = sql.service("plain")
    assert [row[k] for k in ("min_instances", "max_instances", "auto_resume", "comment")] == [2, 3, "false", "d"]
    sql("ALTER SERVICE plain UNSET MIN_INSTANCES, MAX_INSTANCES, AUTO_RESUME, COMMENT, QUERY_WAREHOUSE")
    row = sql.service("plain")
    kept = ("min_instances", "max_instances", "min_ready_instances", "auto_resume", "comment", "query_warehouse")
    assert [row[k] for k in kept] == [1, 1, 1, "true", None, None]
    sql("DROP SERVICE plain")


def test_columns_are_those_of_the_reference(sql: Sql) -> None:
    _create(sql, "columns", spec("server:1", extra=_API))
    shown = [
        "name",
        "status",
        "database_name",
        "schema_name",
        "owner",
        "compute_pool",
        "dns_name",
        "current_instances",
        "target_instances",
        "min_ready_instances",
        "min_instances",
        "max_instances",
        "auto_resume",
        "external_access_integrations",
        "created_on",
        "updated_on",
        "resumed_on",
        "suspended_on",
        "auto_suspend_secs",
        "comment",
        "owner_role_type",
        "query_warehouse",
        "is_job",
        "is_async_job",
        "spec_digest",
        "is_upgrading",
        "managing_object_domain",
        "managing_object_name",
    ]
    assert sql.columns("SHOW SERVICES IN SCHEMA db.s") == shown
    assert sql.columns("DESCRIBE SERVICE columns") == [*shown[:6], "spec", *shown[6:]]
    assert sql.columns("SHOW SERVICES EXCLUDE JOBS") == [c for c in shown if c not in ("is_job", "is_async_job")]
    assert sql.columns("SHOW JOB SERVICES") == [c for c in shown if c != "is_job"]
    assert sql.columns("SHOW SERVICE INSTANCES IN SERVICE columns")[-4:] == ["spec_digest", "creation_time", "start_time", "ip_address"]
    assert sql.columns("SHOW ENDPOINTS IN SERVICE columns") == ["name", "port", "port_range", "protocol", "is_public", "ingress_url"]
    assert sql.one("SHOW ROLES IN SERVICE columns")["name"] == "ALL_ENDPOINTS_USAGE"
    assert "COLUMNS" in [row["name"] for row in sql("SHOW SERVICES EXCLUDE JOBS IN COMPUTE POOL pool")]
    domain = sql.value("SELECT SYSTEM$GET_SERVICE_DNS_DOMAIN('db.s')")
    assert sql.service("columns")["dns_name"] == f"columns.{domain}"
    status = json.loads(sql.value("CALL SYSTEM$GET_SERVICE_STATUS('columns', 30)"))
    assert (status[0]["status"], status[0]["containerName"], status[0]["instanceId"]) == ("READY", "main", "0")
    assert sql.value("CALL SYSTEM$WAIT_FOR_SERVICES(10, 'columns')") == "OK"
    sql("DROP SERVICE columns")


def test_only_the_owner_sees_the_specification(account: AccountProcess, sql: Sql) -> None:
    _create(sql, "owned", spec("server:1", extra=_API))
    sql("CREATE ROLE viewer")
    sql("GRANT ROLE viewer TO USER admin")
    for grant in ("USAGE ON DATABASE db", "USAGE ON SCHEMA db.s"):
        sql(f"GRANT {grant} TO ROLE viewer")
    viewer = Sql(account.connect(role="VIEWER", database="DB", schema="S"))
    with pytest.raises(ProgrammingError) as hidden:
        viewer.service("owned")
    assert hidden.value.errno == 2003
    sql("GRANT MONITOR ON SERVICE owned TO ROLE viewer")
    assert viewer.service("owned")["spec"] is None
    with pytest.raises(ProgrammingError) as refused:
        viewer("DROP SERVICE owned")
    assert refused.value.errno == 3001
    with pytest.raises(ProgrammingError):
        viewer(f"CREATE SERVICE mine IN COMPUTE POOL pool FROM SPECIFICATION $${spec('server:1')}$$")
    sql("DROP SERVICE owned")
