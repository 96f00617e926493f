"""An embedded account with all that services in tests need: images, a stage, secrets, and a pool whose only node is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from embedded_account import RunningAccount, run_account
from kinds_round_trip import trip
from strategies_services import BLOCKER, IMAGES, STANDING
from tiny_images import push

from controller.account.connections import local_connection


def account_for_services(state: Path, *options: str) -> Iterator[RunningAccount]:
    """A process of its own; what stands there belongs to somebody else."""
    for running in run_account(state, "--time-scale", "0.01", *options):
        with trip(local_connection(running.details)) as made:
            made.write([])
            made.by_hand(*STANDING)
            for number, image in enumerate(IMAGES):
                push(running, image, f"content {number}")
            made.by_hand(BLOCKER)
        yield running
