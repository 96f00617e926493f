"""Several trainers as the nodes of one job: addresses, links, and what a preflight says when one is wrong."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from container import launch, memory, nodes, preflight
from container.nodes import Nodes, NodesError
from training import links
from training.errors import BadInputError, StoppedError
from training.planner.machine import HOST_MEMORY


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def local(count: int, index: int = 0) -> Nodes:
    return Nodes(index, tuple(f"127.77.3.{number + 1}" for number in range(count)))


def all_nodes(work: Any, count: int) -> list[Any]:
    """`work(index)` on a thread for each node; what it returned or raised."""
    found: list[Any] = [None] * count

    def run(index: int) -> None:
        try:
            found[index] = work(index)
        except Exception as error:  # noqa: BLE001 - handed to the test
            found[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return found


def test_one_node_needs_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNOWFLAKE_JOBS_COUNT", raising=False)
    assert nodes.find(tmp_path, 1, lambda: False).count == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("index", ["3", "-1", "two"])
def test_a_number_that_makes_no_sense_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    monkeypatch.setenv("SNOWFLAKE_JOBS_COUNT", "3")
    monkeypatch.setenv("SNOWFLAKE_JOB_INDEX", index)
    with pytest.raises(BadInputError, match="below SNOWFLAKE_JOBS_COUNT"):
        nodes.find(tmp_path, 1, lambda: False)


def test_without_an_account_nodes_find_each_other_by_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNOWFLAKE_HOST", raising=False)
    monkeypatch.setenv("SNOWFLAKE_JOBS_COUNT", "2")
    folder = tmp_path / "nodes" / "4"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text('{"addr', encoding="utf-8")  # half written: looked at again
    looks = []

    def stopping() -> bool:
        looks.append(1)
        if len(looks) == 2:
            (folder / "1.json").write_text('{"address": "10.0.0.7"}', encoding="utf-8")
        return False

    monkeypatch.setenv("SNOWFLAKE_JOB_INDEX", "0")
    found = nodes.find(tmp_path, 4, stopping)
    assert found.addresses[1] == "10.0.0.7"
    assert found.head == found.own == json.loads((folder / "0.json").read_text())["address"]


def test_waiting_for_nodes_ends_by_itself_and_names_who_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNOWFLAKE_HOST", raising=False)
    monkeypatch.setenv("SNOWFLAKE_JOBS_COUNT", "3")
    monkeypatch.setattr(nodes, "WAIT_SECONDS", 0.0)
    with pytest.raises(NodesError, match=r"no address of node 1 \(not seen\), node 2 \(not seen\).*MAX_NODES"):
        nodes.find(tmp_path, 1, lambda: False)
    with pytest.raises(StoppedError):
        nodes.find(tmp_path, 1, lambda: True)


def test_links_between_all_nodes_are_tried_and_measured() -> None:
    port = free_port()
    found = all_nodes(lambda i: preflight.check_links(local(4, i), port, {"ranks": 2}, seconds=20), 4)
    assert [sorted(speeds) for speeds in found] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert all(speed > 0 for speeds in found for speed in speeds.values())


def test_nodes_that_are_not_alike_are_named() -> None:
    port = free_port()
    found = all_nodes(lambda i: preflight.check_links(local(3, i), port, {"ranks": 4 if i == 2 else 8}, seconds=20), 3)
    assert all(isinstance(error, BadInputError) for error in found)
    assert "ranks is 4 on node 2 and 8 on node 0" in str(found[0])
    assert "ranks is 8 on node 0 and 4 on node 2" in str(found[2])


def test_a_node_that_cannot_be_reached_is_named_by_the_others() -> None:
    port = free_port()
    found = all_nodes(lambda i: preflight.check_links(local(3, i), port, {}, seconds=0.6) if i != 1 else None, 3)
    for index in (0, 2):
        assert isinstance(found[index], NodesError)
        assert f"node {index} does not reach node 1 at 127.77.3.2:{port}" in str(found[index])
        assert f"node 1 did not reach node {index}" in str(found[index])
        assert f"node {2 - index} " not in str(found[index]), "the link that works is not blamed"


def test_a_node_that_answers_at_the_address_of_another_is_not_taken_for_it() -> None:
    port = free_port()
    swapped = Nodes(0, ("127.77.3.1", "127.77.3.3", "127.77.3.2"))
    found = all_nodes(lambda i: preflight.check_links(swapped if i == 0 else local(3, i), port, {}, seconds=0.6), 3)
    assert "node 0 does not reach node 1 at 127.77.3.3" in str(found[0])
    assert "node 2 answers there" in str(found[0])


def test_a_disk_without_room_and_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"node 3 has .* GiB free .* needs about 1048576\.0 GiB"):
        preflight.check_places(tmp_path, tmp_path / "out", 3, 1 << 50)
    preflight.check_places(tmp_path, tmp_path / "out", 3, 1)
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="node 0 cannot write to the output folder"):
        preflight.check_places(tmp_path, tmp_path / "file", 0, 1)


def test_ranks_are_told_how_much_memory_their_container_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = tmp_path / "memory.max"
    monkeypatch.setattr(memory.Group, "own", lambda: memory.Group(None, limits))
    monkeypatch.delenv(HOST_MEMORY, raising=False)
    limits.write_text("max")
    assert HOST_MEMORY not in launch.environment(local(1, 0), 2)
    limits.write_text("1048576")
    assert launch.environment(local(1, 0), 2)[HOST_MEMORY] == "1048576"
    monkeypatch.setenv(HOST_MEMORY, "4096")
    assert launch.environment(local(1, 0), 2)[HOST_MEMORY] == "4096", "whoever shares the machine knows better"


def test_ranks_that_cannot_reach_each_other_are_told_before_their_library_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL may wait without end, and ends the process when its own time is up."""
    over = threading.Event()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setattr(links, "SECONDS", 0.05)
    for name, answer in (("get_world_size", 2), ("get_rank", 1), ("new_group", None)):
        monkeypatch.setattr(links.dist, name, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr(links.dist, "all_reduce", lambda *_, **__: over.wait(5))
    try:
        with pytest.raises(links.LinkError, match=r"cannot exchange .*: there was no sum after 0\.05 s; the ports") as caught:
            links.check(lambda text: None)
        assert caught.value.exit_code == 1, "it may be over when the next attempt starts"
    finally:
        over.set()


def test_ranks_of_several_nodes_meet_at_node_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWCAT_PORT_RENDEZVOUS", "4711")
    words = launch.command(local(2, 1), 4, ["config.json"])
    for pair in (("--nnodes", "2"), ("--node-rank", "1"), ("--master-addr", "127.77.3.1"), ("--master-port", "4711")):
        assert words[words.index(pair[0]) + 1] == pair[1]
    assert launch.environment(local(2, 1), 4)["GLOO_SOCKET_IFNAME"] == "lo"
    assert "--standalone" in launch.command(Nodes(0, ("",)), 1, [])
