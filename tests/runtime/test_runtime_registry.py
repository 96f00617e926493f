"""The registry speaks the OCI distribution API, and lets only those in who may."""

from __future__ import annotations

import base64
import hashlib
import json

import httpx
import pytest
from runtime_support import AccountProcess, Sql, layer, push_image

_BASE = "/v2/db/s/repo/probe"


@pytest.fixture
def client(account: AccountProcess, sql: Sql) -> httpx.Client:
    auth = (account.info["user"], account.info["password"])
    return httpx.Client(base_url=f"http://{account.host}", auth=auth, trust_env=False)


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def test_without_credentials_the_client_is_told_where_to_log_in(account: AccountProcess, sql: Sql) -> None:
    answer = httpx.get(f"http://{account.host}/v2/", trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(f'Bearer realm="http://{account.host}/login"')


def test_ping_and_wrong_password(client: httpx.Client) -> None:
    assert client.get("/v2/").status_code == 200
    assert client.get("/v2/", auth=("ADMIN", "wrong")).status_code == 401


def test_session_token_login_gives_a_bearer_token(account: AccountProcess, client: httpx.Client) -> None:
    connection = account.connect()
    password = json.dumps({"token": connection.rest.token, "expires_in": 3600})
    basic = base64.b64encode(f"0sessiontoken:{password}".encode()).decode()
    with httpx.Client(base_url=f"http://{account.host}", trust_env=False) as bare:
        token = bare.get("/login", headers={"Authorization": f"Basic {basic}"}).json()["token"]
        assert bare.get("/v2/", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert bare.get("/v2/db/s/repo/server/tags/list", headers={"Authorization": f"Basic {basic}"}).json()["tags"] == ["1"]
        assert bare.get("/v2/", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    connection.close()


def test_chunked_upload_resumes_and_checks_the_digest(client: httpx.Client) -> None:
    content = b"a" * 1000 + b"b" * 1000
    location = client.post(f"{_BASE}/blobs/uploads/").headers["location"]
    first = client.patch(location, content=content[:1000], headers={"Content-Range": "0-999"})
    assert (first.status_code, first.headers["range"]) == (202, "0-999")
    assert client.patch(location, content=b"x", headers={"Content-Range": "5-5"}).status_code == 416
    assert client.get(location).headers["range"] == "0-999"
    client.patch(location, content=content[1000:], headers={"Content-Range": "1000-1999"})
    done = client.put(location, params={"digest": _digest(content)})
    assert (done.status_code, done.headers["docker-content-digest"]) == (201, _digest(content))
    assert client.get(f"{_BASE}/blobs/{_digest(content)}").content == content
    assert client.head(f"{_BASE}/blobs/{_digest(content)}").headers["content-length"] == "2000"


def test_wrong_digest_is_refused_and_nothing_stays(client: httpx.Client) -> None:
    wrong = _digest(b"other")
    refused = client.post(f"{_BASE}/blobs/uploads/", params={"digest": wrong}, content=b"content")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "DIGEST_INVALID"
    assert client.head(f"{_BASE}/blobs/{wrong}").status_code == 404


def test_manifest_needs_its_blobs(client: httpx.Client) -> None:
    manifest = {"schemaVersion": 2, "config": {"digest": _digest(b"never pushed"), "size": 1}, "layers": []}
    refused = client.put(f"{_BASE}/manifests/x", content=json.dumps(manifest))
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "MANIFEST_INVALID")
    assert client.get(f"{_BASE}/manifests/x").status_code == 404


def test_pushed_image_is_shown_and_an_index_can_point_at_it(account: AccountProcess, client: httpx.Client, sql: Sql) -> None:
    digest = account.push("db/s/repo", "shown:v1", {"a": "1"}, Cmd=["true"])
    row = next(r for r in sql("SHOW IMAGES LIKE 'shown' IN IMAGE REPOSITORY repo"))
    assert (row["tags"], row["digest"], row["image_path"]) == ("v1", digest, "db/s/repo/shown:v1")
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"digest": digest, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}],
    }
    put = client.put("/v2/db/s/repo/shown/manifests/multi", content=json.dumps(index), headers={"Content-Type": index["mediaType"]})
    assert put.status_code == 201
    got = client.get("/v2/db/s/repo/shown/manifests/multi")
    assert got.headers["content-type"] == index["mediaType"]
    assert client.get("/v2/db/s/repo/shown/tags/list").json()["tags"] == ["multi", "v1"]
    assert "shown" in json.loads(sql.value("SELECT SYSTEM$REGISTRY_LIST_IMAGES('/db/s/repo')"))["images"]


def test_privileges_read_and_write(account: AccountProcess, sql: Sql) -> None:
    sql("CREATE ROLE pusher")
    sql("CREATE USER pusher PASSWORD = 'push-1234' DEFAULT_ROLE = PUSHER")
    sql("GRANT ROLE pusher TO USER pusher")
    base, auth = f"http://{account.host}", ("pusher", "push-1234")

    def push() -> int:
        try:
            push_image(base, auth, "db/s/repo", "granted:1", {"a": "1"}, {})
        except httpx.HTTPStatusError as error:
            return error.response.status_code
        return 201

    assert push() == 403, "no privilege at all"
    sql("GRANT READ ON IMAGE REPOSITORY repo TO ROLE pusher")
    assert push() == 403, "READ does not allow to push"
    assert httpx.get(f"{base}/v2/db/s/repo/server/tags/list", auth=auth, trust_env=False).status_code == 200
    sql("GRANT WRITE ON IMAGE REPOSITORY repo TO ROLE pusher")
    assert push() == 201


def test_unknown_repository_is_a_404_and_dropping_one_forgets_its_images(account: AccountProcess, client: httpx.Client, sql: Sql) -> None:
    assert client.get("/v2/db/s/nothing/x/tags/list").status_code == 404
    sql("CREATE IMAGE REPOSITORY second COMMENT = 'c'")
    account.push("db/s/second", "x:1", {"a": "1"})
    sql("CREATE OR REPLACE IMAGE REPOSITORY second")
    assert sql("SHOW IMAGES IN IMAGE REPOSITORY second") == []
    row = sql.one("SHOW IMAGE REPOSITORIES LIKE 'second' IN SCHEMA db.s")
    assert row["repository_url"] == f"{account.host}/db/s/second"
    assert (row["comment"], row["encryption"]) == ("", "SNOWFLAKE_FULL")
    sql("DROP IMAGE REPOSITORY second")


def test_layers_that_leave_the_image_are_refused(account: AccountProcess, sql: Sql) -> None:
    assert layer({"../escape": "x"})
    account.push("db/s/repo", "escape:1", {"../../escape": "x"}, Cmd=["true"])
    specification = '{"spec": {"containers": [{"name": "main", "image": "/db/s/repo/escape:1"}]}}'
    sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${specification}$$ NAME = escaping ASYNC = TRUE")
    sql.wait("escaping", "FAILED")
    assert "leaves the image" in sql.one("SHOW SERVICE CONTAINERS IN SERVICE escaping")["message"]
