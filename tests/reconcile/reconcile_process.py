"""A daemon as a process of its own, to be killed: `python reconcile_process.py ACCOUNT.json FOLDER STATE ROLE`. Logs to standard error."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from controller.account.connections import local_connection
from controller.account.pool import SessionPool
from controller.kinds.registry import KINDS
from controller.reconcile import log
from controller.reconcile.clock import Timing
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import loader
from controller.reconcile.loop import Reconciler
from controller.reconcile.state import State


def main(account: str, folder: str, state: str, role: str) -> None:
    log.configure(as_json=True)
    pool = SessionPool(local_connection(json.loads(Path(account).read_text())), 12, role=role)
    engine = Engine(loader(Path(folder)), KINDS, State(Path(state)), pool, account="local", local=True)
    Reconciler(engine, timing=Timing(poll_first=0.05)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
