"""Gateways of the embedded account: their statements, and how requests are spread over the endpoints behind them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
import pytest
import snowflake.connector
from runtime_support import AccountProcess, Sql, spec, until

_API = json.dumps(
    {
        "container.readinessProbe": {"port": 8000, "path": "/healthz"},
        "endpoints": [{"name": "api", "port": 8000}, {"name": "raw", "port": 9000, "protocol": "TCP"}],
    }
)


@pytest.fixture(scope="module")
def two(sql: Sql) -> tuple[str, str]:
    """Two running services that answer with their version."""
    for name in ("blue", "green"):
        sql(f"CREATE SERVICE {name} IN COMPUTE POOL pool FROM SPECIFICATION $${spec('server:1', extra=_API, VERSION=name)}$$")
    for name in ("blue", "green"):
        sql.wait(name, "RUNNING")
    return "DB.S.BLUE!api", "DB.S.GREEN!api"


def split(**weights: int) -> str:
    targets = [{"type": "endpoint", "value": f"db.s.{name}!api", "weight": weight} for name, weight in weights.items()]
    return json.dumps({"spec": {"type": "traffic_split", "split_type": "custom", "targets": targets}})


def ask(account: AccountProcess, sql: Sql, host: str) -> httpx.Response:
    headers = {"Host": host, "Authorization": f'Snowflake Token="{sql.connection.rest.token}"'}
    return httpx.get(f"http://{account.host}/x", headers=headers, trust_env=False)


def answers(account: AccountProcess, sql: Sql, host: str, times: int) -> Counter[str]:
    return Counter(str(ask(account, sql, host).json()["version"]) for _ in range(times))


def test_requests_follow_the_weights_and_the_host_stays(account: AccountProcess, sql: Sql, two: tuple[str, str]) -> None:
    sql(f"CREATE GATEWAY front FROM SPECIFICATION $${split(blue=70, green=30)}$$")
    host = sql.one("DESCRIBE GATEWAY front")["ingress_url"]
    assert answers(account, sql, host, 20) == {"blue": 14, "green": 6}
    sql(f"ALTER GATEWAY front FROM SPECIFICATION $${split(blue=0, green=100)}$$")
    row = sql.one("DESCRIBE GATEWAY front")
    assert (row["ingress_url"], "DB.S.GREEN!api" in row["spec"]) == (host, True)
    assert answers(account, sql, host, 5) == {"green": 5}

    sql("ALTER SERVICE green SET AUTO_RESUME = FALSE")
    sql("ALTER SERVICE green SUSPEND")
    assert ask(account, sql, host).status_code == 503, "nothing goes to a target of weight 0"
    sql(f"ALTER GATEWAY front FROM SPECIFICATION $${split(blue=1, green=99)}$$")
    assert answers(account, sql, host, 3) == {"blue": 3}, "what cannot answer is left out"
    sql("ALTER SERVICE green RESUME")
    sql.wait("green", "RUNNING")
    sql("DROP GATEWAY front")
    assert ask(account, sql, host).status_code == 404


def test_shadows_get_copies(account: AccountProcess, sql: Sql, two: tuple[str, str]) -> None:
    document = {
        "spec": {
            "type": "shadow_traffic",
            "primary": [{"type": "endpoint", "value": two[0]}],
            "shadow": [{"type": "endpoint", "value": two[1], "weight": 50}],
        }
    }
    sql(f"CREATE GATEWAY mirror FROM SPECIFICATION $${json.dumps(document)}$$")
    host = sql.one("DESCRIBE GATEWAY mirror")["ingress_url"]
    assert answers(account, sql, host, 4) == {"blue": 4}
    assert sql.one("SHOW GATEWAYS LIKE 'MIRROR'")["gateway_type"] == "shadow_traffic"
    sql("DROP GATEWAY mirror")


def test_the_comment_is_a_statement_of_its_own(sql: Sql, two: tuple[str, str]) -> None:
    sql(f"CREATE GATEWAY noted FROM SPECIFICATION $${split(blue=100)}$$")
    assert sql.one("SHOW GATEWAYS LIKE 'NOTED' IN SCHEMA db.s")["comment"] is None
    sql("COMMENT ON GATEWAY noted IS 'mine'")
    assert sql.one("SHOW GATEWAYS LIKE 'NOTED' IN ACCOUNT")["comment"] == "mine"
    assert sql.columns("SHOW GATEWAYS") == [
        "created_on", "name", "database_name", "schema_name", "owner", "owner_role_type", "gateway_type", "comment",
    ]  # fmt: skip
    assert sql.columns("DESCRIBE GATEWAY noted") == [
        "name", "ingress_url", "privatelink_ingress_url", "database_name", "schema_name", "owner", "owner_role_type", "spec",
        "created_on", "updated_on", "comment",
    ]  # fmt: skip
    sql("DROP GATEWAY noted")


@pytest.mark.parametrize(
    ("document", "errno", "said"),
    [
        (split(nobody=100), 398529, "Service specified in gateway does not exist or not authorized: DB.S.NOBODY"),
        (split(blue=100).replace("!api", "!none"), 2003, "Endpoint 'DB.S.BLUE!none' does not exist"),
        (split(blue=100).replace("!api", "!raw"), 395018, "protocol TCP"),
        (split(blue=60, green=30), 395018, "add up to 90"),
        ('{"spec": {"type": "other"}}', 395018, "Allowed: traffic_split, shadow_traffic"),
        ("spec: [", 395018, "not valid YAML"),
    ],
)
def test_a_specification_that_cannot_be(sql: Sql, two: tuple[str, str], document: str, errno: int, said: str) -> None:
    with pytest.raises(snowflake.connector.ProgrammingError) as caught:
        sql(f"CREATE GATEWAY wrong FROM SPECIFICATION $${document}$$")
    assert (caught.value.errno, said in str(caught.value)) == (errno, True), str(caught.value)


def test_usage_of_the_gateway_is_enough(account: AccountProcess, sql: Sql, two: tuple[str, str]) -> None:
    sql("CREATE ROLE IF NOT EXISTS guest")
    for grant in ("USAGE ON DATABASE db", "USAGE ON SCHEMA db.s"):
        sql(f"GRANT {grant} TO ROLE guest")
    sql("CREATE USER IF NOT EXISTS guest PASSWORD = 'Guest-1234' DEFAULT_ROLE = guest")
    sql("GRANT ROLE guest TO USER guest")
    sql(f"CREATE GATEWAY opened FROM SPECIFICATION $${split(blue=100)}$$")
    host = sql.one("DESCRIBE GATEWAY opened")["ingress_url"]
    guest: Any = Sql(account.connect(user="guest", password="Guest-1234", role="guest"))
    assert ask(account, guest, host).status_code == 404
    sql("GRANT USAGE ON GATEWAY opened TO ROLE guest")
    until(lambda: ask(account, guest, host).status_code == 200)
    guest.connection.close()
    sql("DROP GATEWAY opened")
