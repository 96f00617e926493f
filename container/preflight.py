"""A look at the nodes before the ranks start: what would fail after the model is loaded fails here, within a minute.

Every node tries its disk and the output folder, and connects to every other node. It exchanges what must be equal, and
sends some megabytes to see how fast the link is. What is wrong names the link or the node.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from container.nodes import Nodes, NodesError
from training.errors import BadInputError
from training.progress import Progress, report

SECONDS = 60.0
PAYLOAD = 8 << 20  # bytes over each link, there and back again from the other side
_CHUNK = 1 << 16
GIB = 1 << 30


def check_places(work: Path, output: Path, index: int, needed: int) -> None:
    """Whether this node can do its part: `needed` bytes free in `work`, and whole files into `output`.

    Raises BadInputError.
    """
    free = shutil.disk_usage(work).free
    if free < needed:
        raise BadInputError(
            f"node {index} has {free / GIB:.1f} GiB free in {work}, and the run needs about {needed / GIB:.1f} GiB; take an instance "
            "family with more storage, or method: lora"
        )
    probe, text = output / f"preflight-{index}.json", json.dumps({"node": index, "at": time.time()})
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe.write_text(text, encoding="utf-8")
        same = probe.read_text(encoding="utf-8") == text
        probe.unlink()
    except OSError as error:
        raise BadInputError(f"node {index} cannot write to the output folder {output}: {error}") from error
    if not same:
        raise BadInputError(f"node {index} reads something else from the output folder {output} than it has written")


def check_links(nodes: Nodes, port: int, facts: Mapping[str, Any], seconds: float = SECONDS) -> dict[int, float]:
    """Talk to all other nodes at `port`; bytes a second to each of them.

    `facts` must be equal on all nodes. Raises NodesError for a link that does not work, BadInputError for unequal facts.
    """
    mesh = _Mesh(nodes, port, dict(facts), time.monotonic() + seconds)
    others = [number for number in range(nodes.count) if number != nodes.index]
    with mesh.listen():
        with ThreadPoolExecutor(max_workers=len(others)) as pool:
            speeds = dict(zip(others, pool.map(mesh.call, others), strict=True))
        problems = [*mesh.problems, *mesh.unheard(others)]
    if problems:
        raise NodesError(
            f"the nodes cannot talk to each other: {'; '.join(problems)}; nodes reach each other at TCP endpoints that the job declares"
        )
    differing = mesh.differing()
    if differing:
        raise BadInputError(f"the nodes are not alike: {'; '.join(differing)}")
    slowest = min(speeds, key=lambda number: speeds[number])
    text = f"node {nodes.index} reaches all {nodes.count} nodes, at least {speeds[slowest] / 1e6:.0f} MB/s (node {slowest})"
    report(Progress("load", message=text))
    return speeds


@dataclass
class _Mesh:
    """One node's listener and its calls to the others."""

    nodes: Nodes
    port: int
    facts: dict[str, Any]
    end: float
    theirs: dict[int, dict[str, Any]] = field(default_factory=dict)
    heard: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    _server: socket.socket | None = None

    def listen(self) -> socket.socket:
        """Answer the other nodes from now on, until the socket is closed."""
        try:
            self._server = socket.create_server((self.nodes.own, self.port), backlog=self.nodes.count)
        except OSError as error:
            raise NodesError(f"node {self.nodes.index} cannot listen at {self.nodes.own}:{self.port}: {error}") from error
        threading.Thread(target=self._accept, args=(self._server,), daemon=True, name="preflight").start()
        return self._server

    def call(self, other: int) -> float:
        """Connect to a node; bytes a second. A problem is noted, and counts as 0."""
        place = f"{self.nodes.addresses[other]}:{self.port}"
        said = "no time left"
        while (left := self.end - time.monotonic()) > 0:
            try:
                with socket.create_connection((self.nodes.addresses[other], self.port), timeout=min(left, 10.0)) as line:
                    return self._talk(line, other)
            except (OSError, ValueError, KeyError) as error:
                said = str(error)
                time.sleep(min(0.1, max(0.0, left)))
        self.problems.append(f"node {self.nodes.index} does not reach node {other} at {place} ({said})")
        return 0.0

    def unheard(self, others: list[int]) -> list[str]:
        """Waits for the calls of the others; which of them did not come."""
        while not self.heard.issuperset(others) and time.monotonic() < self.end:
            time.sleep(0.02)
        return [f"node {number} did not reach node {self.nodes.index}" for number in others if number not in self.heard]

    def differing(self) -> list[str]:
        """Facts of other nodes that are not this node's."""
        return [
            f"{name} is {theirs.get(name)} on node {number} and {mine} on node {self.nodes.index}"
            for number, theirs in sorted(self.theirs.items())
            for name, mine in self.facts.items()
            if theirs.get(name) != mine
        ]

    def _talk(self, line: socket.socket, other: int) -> float:
        line.sendall(json.dumps({"node": self.nodes.index}).encode() + b"\n")
        with line.makefile("rb") as stream:
            answer = json.loads(stream.readline())
            if answer["node"] != other:
                raise ValueError(f"node {answer['node']} answers there")
            self.theirs[other] = answer["facts"]
            started = time.monotonic()
            for _ in range(PAYLOAD // _CHUNK):
                line.sendall(b"\0" * _CHUNK)
            if stream.readline() != b"received\n":
                raise ValueError("the connection broke off")
        return PAYLOAD / max(1e-9, time.monotonic() - started)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:
                return  # closed: the preflight is over
            threading.Thread(target=self._answer, args=(line,), daemon=True, name="preflight-answer").start()

    def _answer(self, line: socket.socket) -> None:
        try:
            line.settimeout(SECONDS)
            with line, line.makefile("rb") as stream:
                caller = int(json.loads(stream.readline())["node"])
                line.sendall(json.dumps({"node": self.nodes.index, "facts": self.facts}).encode() + b"\n")
                left = PAYLOAD
                while left > 0 and (chunk := stream.read(min(left, _CHUNK))):
                    left -= len(chunk)
                if left == 0:
                    line.sendall(b"received\n")
                    self.heard.add(caller)
        except (OSError, ValueError, KeyError):
            return  # the caller notes it and tries again
