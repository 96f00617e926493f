"""The nodes of a job that train together: which one this is, and where the others are.

SPCS gives each replica its number and their count. Nodes cannot resolve each other's names, so their addresses come
from SHOW SERVICE INSTANCES; without an account (several trainers on one machine) from files in the output folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import snowflake.connector
from snowflake.connector.errors import Error

from container import account, settings
from training.errors import BadInputError, StoppedError, TrainingError
from training.files import write_json
from training.progress import Progress, report

RENDEZVOUS_PORT = 29500
PREFLIGHT_PORT = 29501
WAIT_SECONDS = 720.0  # until every node has a place in the pool and an address
_SIOCGIFADDR = 0x8915
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")


class NodesError(TrainingError):
    """The nodes did not come together; the job may be tried again."""


@dataclass(frozen=True)
class Nodes:
    """All nodes by number. One node alone has no address, and needs none."""

    index: int
    addresses: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.addresses)

    @property
    def head(self) -> str:
        """The address of node 0, where the ranks meet."""
        return self.addresses[0]

    @property
    def own(self) -> str:
        """The address of this node."""
        return self.addresses[self.index]


def find(output: Path, attempt: int, stopping: Callable[[], bool]) -> Nodes:
    """This node among the others; waits until all of them have an address.

    Raises NodesError when some have none after twelve minutes, and BadInputError for numbers that make no sense.
    """
    count = settings.number("SNOWFLAKE_JOBS_COUNT", 1)
    text = os.environ.get("SNOWFLAKE_JOB_INDEX", "0")
    if not text.isdigit() or int(text) >= count:
        raise BadInputError(f"SNOWFLAKE_JOB_INDEX must be a number below SNOWFLAKE_JOBS_COUNT ({count}), found {text!r}")
    index = int(text)
    if count == 1:
        return Nodes(0, ("",))
    report(Progress("load", message=f"node {index} of {count}: waiting for the addresses of all nodes"))
    look = _from_account if os.environ.get("SNOWFLAKE_HOST") else _from_files(output / "nodes" / str(attempt), index)
    end, pause = time.monotonic() + WAIT_SECONDS, 0.2
    while True:
        if stopping():
            raise StoppedError("stopped while waiting for the other nodes")
        states = look()
        addresses = tuple(states.get(number, ("", ""))[0] for number in range(count))
        if all(addresses):
            return Nodes(index, addresses)
        if time.monotonic() > end:
            break
        time.sleep(pause)
        pause = min(10.0, pause * 1.5)
    late = [f"node {number} ({states.get(number, ('', 'not seen'))[1]})" for number in range(count) if not states.get(number, ("",))[0]]
    raise NodesError(f"no address of {', '.join(late)}; the pool must have room for all {count} nodes at once (MAX_NODES)")


def port(name: str, declared: int) -> int:
    """The real port of a declared endpoint: the account on this machine gives another one, and says so."""
    return settings.number(f"SNOWCAT_PORT_{name.upper()}", declared)


def interface(address: str) -> str | None:
    """The network interface with this address; loopback addresses are all on one."""
    if address.startswith("127."):
        address = "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def _from_account() -> dict[int, tuple[str, str]]:
    """(address or nothing, status) of the nodes that the account shows."""
    parts = [os.environ.get(f"SNOWFLAKE_{part}", "") for part in ("DATABASE", "SCHEMA", "SERVICE_NAME")]
    if not all(_PLAIN.fullmatch(part) for part in parts):
        raise BadInputError(f"SNOWFLAKE_DATABASE, SNOWFLAKE_SCHEMA and SNOWFLAKE_SERVICE_NAME must name this job, found {parts}")
    try:
        with account.connect() as connection:
            cursor = connection.cursor(snowflake.connector.DictCursor)
            rows = cursor.execute(f"SHOW SERVICE INSTANCES IN SERVICE {'.'.join(parts)}").fetchall()
    except Error as error:
        report(Progress("load", message=f"SHOW SERVICE INSTANCES failed, trying again: {error.errno} {error.raw_msg or error.msg}"))
        return {}
    known = [row for row in rows if row.get("instance_id") is not None]
    return {int(row["instance_id"]): (str(row.get("ip_address") or ""), str(row.get("status") or "")) for row in known}


def _from_files(folder: Path, index: int) -> Callable[[], dict[int, tuple[str, str]]]:
    """Each node leaves its address in a file that the others read."""
    write_json(folder / f"{index}.json", {"address": _address_here()})

    def look() -> dict[int, tuple[str, str]]:
        found = {}
        for path in folder.glob("*.json"):
            try:
                found[int(path.stem)] = (str(json.loads(path.read_text(encoding="utf-8"))["address"]), "known")
            except (ValueError, KeyError, OSError):
                continue  # half written
        return found

    return look


def _address_here() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"
