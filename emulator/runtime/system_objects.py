"""What every account has from the start: two system pools and the repository of system images, for everyone to use."""

from __future__ import annotations

import time

from emulator.catalogue.store import Grant, Store

_DONE = "runtime.system_objects"
_IMAGES = ("SNOWFLAKE", "IMAGES", "SNOWFLAKE_IMAGES")
_POOLS = (
    # name, family, MAX_NODES, AUTO_SUSPEND_SECS
    ("SYSTEM_COMPUTE_POOL_CPU", "CPU_X64_S", 150, 259_200),
    ("SYSTEM_COMPUTE_POOL_GPU", "GPU_NV_S", 50, 600),
)


def create_system_objects(store: Store) -> None:
    """Once per account: they can be dropped, and then stay away."""
    if store.setting(_DONE):
        return
    with store.transaction():
        for name, family, most, seconds in _POOLS:
            props = {
                "instance_family": family,
                "min_nodes": 1,
                "max_nodes": most,
                "auto_suspend_secs": seconds,
                "auto_resume": True,
                "placement_group": None,
                "backup_instance_families": None,
                "application": None,
                "suspended": "GPU" in name,
                "resumed_on": time.time(),
            }
            if store.find("COMPUTE POOL", "", "", name) is None:
                store.create("COMPUTE POOL", "", "", name, owner="ACCOUNTADMIN", props=props)
                store.grant(Grant("USAGE", "COMPUTE POOL", "", "", name, "PUBLIC", False, "ACCOUNTADMIN", False, time.time()))
        if store.find("SCHEMA", "SNOWFLAKE", "", "IMAGES") and not store.find("IMAGE REPOSITORY", *_IMAGES):
            # Tools take the registry's host from this repository's address.
            store.create("IMAGE REPOSITORY", *_IMAGES, owner="SNOWFLAKE", comment="", props={})
            store.grant(Grant("READ", "IMAGE REPOSITORY", *_IMAGES, "PUBLIC", False, "SNOWFLAKE", False, time.time()))
        store.set_setting(_DONE, True)
