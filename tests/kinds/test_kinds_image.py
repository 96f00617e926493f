"""Images: made without an engine, pushed with patience, compared with what the repository shows."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import httpx
import pytest
from kinds_world import lab, only

from controller.account.snapshot import Show
from controller.kinds.base import KindError
from controller.kinds.image import BuildAndPush, ImageFact
from controller.kinds.images import oci
from controller.kinds.images.registry_client import RegistryClient, RegistryRefused, RegistryUnreachable
from controller.kinds.registry import KINDS

IMAGE = KINDS["Image"]
IMAGES = Show("IMAGES", "IMAGE REPOSITORY DB.SCH.REPO")
MANIFESTS = """
kind: ImageRepository
metadata: {name: repo, schema: db.sch}
---
kind: Image
metadata: {name: hello, schema: db.sch}
spec: {repository: repo, context: app}
"""


def test_an_image_that_nobody_pushed_is_built(tmp_path: Path) -> None:
    world = lab(tmp_path)
    graph = world.load(MANIFESTS)
    obj, view = only(graph, "Image"), world.view(graph)
    assert not IMAGE.observe(obj, view).exists
    (step,) = IMAGE.create(obj, view)
    assert isinstance(step, BuildAndPush)
    assert str(step).startswith("build image hello (1 files, 0 kB) and push /db/sch/repo/hello:c-")


def test_the_tag_in_the_repository_decides(tmp_path: Path) -> None:
    world = lab(tmp_path)
    graph = world.load(MANIFESTS)
    obj = only(graph, "Image")
    fact = world.view(graph).fact(obj.key)
    assert isinstance(fact, ImageFact)
    world.see(IMAGES, {"image_name": "hello", "tags": fact.tag, "digest": "sha256:1", "created_on": "2"})
    seen = IMAGE.observe(obj, world.view(graph))
    assert seen.exists and not seen.drift
    assert "FROM and RUN were not executed" in seen.message
    (tmp_path / "app" / "main.py").write_text("print('changed')\n")
    changed = IMAGE.observe(obj, world.view(graph))
    assert [(change.path, change.before) for change in changed.drift] == [("tag", fact.tag)]


def test_a_broken_dockerfile_names_file_and_line(tmp_path: Path) -> None:
    world = lab(tmp_path)
    (tmp_path / "app" / "Dockerfile").write_text("FROM x\nCOPY gone.py .\n")
    graph = world.load(MANIFESTS)
    with pytest.raises(KindError, match=r"Dockerfile:2: COPY gone.py: no such file"):
        IMAGE.observe(only(graph, "Image"), world.view(graph))


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    world = lab(tmp_path)
    graph = world.load(MANIFESTS)
    fact = world.view(graph).fact(only(graph, "Image").key)
    images = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        images.append(oci.build(fact.source.plan(), tmp_path / name))
    assert images[0].digest == images[1].digest
    layer, config = images[0].blobs
    with tarfile.open(layer.path) as archive:
        member = archive.getmember("app/main.py")
        assert (member.uid, member.mtime, member.mode) == (0, 0, 0o644)
    document = json.loads(config.path.read_text())
    assert document["config"]["Entrypoint"] == ["python", "main.py"]
    assert document["rootfs"]["diff_ids"][0].startswith("sha256:")


class Registry:
    """A registry over HTTP in memory. `faults` are answered first, one for each blob upload."""

    def __init__(self, faults: list[int | Exception] | None = None) -> None:
        self.faults = faults or []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.logins = 0
        self.uploads = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/login":
            self.logins += 1
            return httpx.Response(200, json={"token": f"t{self.logins}"})
        assert request.headers["Authorization"] == f"Bearer t{self.logins}", "every attempt logs in anew"
        if request.method == "HEAD":
            return httpx.Response(200 if path.rpartition("/")[2] in self.blobs else 404)
        if request.method == "POST":
            return httpx.Response(202, headers={"Location": "/v2/upload/1?state=x"})
        if "/manifests/" in path:
            self.manifests[path] = request.read()
            return httpx.Response(201, headers={"Docker-Content-Digest": "sha256:m"})
        self.uploads += 1
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return httpx.Response(fault, text="request timeout")
        assert request.url.params["state"] == "x"
        self.blobs[request.url.params["digest"]] = request.read()
        return httpx.Response(201)


def client(registry: Registry, waits: list[float]) -> RegistryClient:
    return RegistryClient("http://r", lambda: ("0sessiontoken", "{}"), httpx.MockTransport(registry.answer), waits.append)


def image(folder: Path) -> oci.OciImage:
    blobs = []
    for number in range(2):
        path = folder / f"blob{number}"
        path.write_bytes(bytes([number]) * 10)
        blobs.append(oci.Blob(path, "x", f"sha256:{number}", 10))
    return oci.OciImage(tuple(blobs), b"{}")


@pytest.mark.parametrize("fault", [408, 429, 500, 503, httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")])
def test_a_passing_fault_is_tried_again_where_it_stopped(tmp_path: Path, fault: int | Exception) -> None:
    waits: list[float] = []
    registry = Registry([408, fault])
    digest = client(registry, waits).push("db/sch/repo/hello", "c-1", image(tmp_path))
    assert digest == "sha256:m"
    assert registry.logins == 3
    assert len(waits) == 2
    assert registry.uploads == 4, "two faults, and each part once"
    assert list(registry.manifests) == ["/v2/db/sch/repo/hello/manifests/c-1"]


def test_a_second_push_sends_no_part(tmp_path: Path) -> None:
    registry: Registry = Registry()
    for _ in range(2):
        client(registry, []).push("db/sch/repo/hello", "c-1", image(tmp_path))
    assert registry.uploads == 2


def test_it_gives_up_after_some_attempts(tmp_path: Path) -> None:
    waits: list[float] = []
    with pytest.raises(RegistryUnreachable, match=r"in 6 attempts; last answer: PUT .*HTTP 408 request timeout"):
        client(Registry([408] * 20), waits).push("db/sch/repo/hello", "c-1", image(tmp_path))
    assert len(waits) == 5


def test_a_refusal_is_not_repeated(tmp_path: Path) -> None:
    waits: list[float] = []
    registry = Registry([403])
    with pytest.raises(RegistryRefused, match="needs WRITE on the image repository"):
        client(registry, waits).push("db/sch/repo/hello", "c-1", image(tmp_path))
    assert not waits


def test_an_image_of_a_real_account_needs_an_engine(tmp_path: Path) -> None:
    world = lab(tmp_path)
    graph = world.load(MANIFESTS)
    fact = world.view(graph).fact(only(graph, "Image").key)
    step = BuildAndPush("hello", fact, only(graph, "ImageRepository").key.name, local=False)

    class Context:
        workdir = tmp_path
        session = io.StringIO()

        def progress(self, message: str) -> None:
            raise AssertionError("nothing is begun")

    with pytest.raises(KindError, match="needs a Docker engine"):
        step.run(Context())
