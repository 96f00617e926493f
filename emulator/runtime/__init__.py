"""Compute pools, services and jobs of the embedded account, as real processes on this machine.

`spec` reads what a service should be; `pool`, `service`, `instance` and `container` are state machines that one thread in `manager`
moves on; `init` is the first process of each container. Nothing here speaks SQL: the commands do.

Only the standard library is imported here: a container's first process goes through this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.account import Account
    from emulator.runtime.manager import Manager


def build_runtime(account: Account) -> Manager:
    """The container runtime of an account."""
    from emulator.runtime.manager import Manager

    return Manager(account)
