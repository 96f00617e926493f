"""What exists in an account from its first start: system roles, the administrator, shared databases."""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING

from emulator.catalogue.access import SYSTEM_ROLES
from emulator.catalogue.kinds import GLOBAL_PRIVILEGES
from emulator.catalogue.store import Grant, Store
from emulator.wire.login import hash_password

if TYPE_CHECKING:
    from emulator.account import Account

ADMIN = "ADMIN"
_HIERARCHY = (
    ("SYSADMIN", "ACCOUNTADMIN"),
    ("SECURITYADMIN", "ACCOUNTADMIN"),
    ("USERADMIN", "SECURITYADMIN"),
)
_FIRST_PRIVILEGES = {
    "ACCOUNTADMIN": tuple(p for p in GLOBAL_PRIVILEGES if p not in ("MANAGE GRANTS",)),
    "SECURITYADMIN": ("MANAGE GRANTS",),
    "USERADMIN": ("CREATE USER", "CREATE ROLE"),
    "SYSADMIN": ("CREATE DATABASE", "CREATE WAREHOUSE", "CREATE COMPUTE POOL"),
}
_SHARED = {
    "SNOWFLAKE": ("ACCOUNT_USAGE", "IMAGES", "MODELS", "CORE"),
    "SNOWFLAKE_SAMPLE_DATA": ("TPCH_SF1",),
}


def prepare(account: Account) -> str:
    """Fills an empty catalogue, and gives the administrator's password (made once and kept in the state folder)."""
    path = account.state / "password"
    store = account.store
    if path.exists() and store.setting("prepared"):
        return path.read_text()
    password = secrets.token_urlsafe(18)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(password)
    with store.transaction():
        _roles(store)
        store.create(
            "USER",
            "",
            "",
            ADMIN,
            owner="ACCOUNTADMIN",
            props={"password": hash_password(password), "default_role": "ACCOUNTADMIN", "login_name": ADMIN},
        )
        for role in SYSTEM_ROLES:
            if role != "PUBLIC":
                store.grant_role(role, "USER", ADMIN, "")
        _shared_databases(store)
        store.set_setting("prepared", True)
    return password


def _roles(store: Store) -> None:
    now = time.time()
    for role in SYSTEM_ROLES:
        store.create("ROLE", "", "", role, owner="", comment="")
    for child, parent in _HIERARCHY:
        store.grant_role(child, "ROLE", parent, "")
    for role, privileges in _FIRST_PRIVILEGES.items():
        for privilege in privileges:
            store.grant(Grant(privilege, "ACCOUNT", "", "", "", role, True, "", False, now))


def _shared_databases(store: Store) -> None:
    """Databases from Snowflake's own shares. Usage of the samples is for everyone, of SNOWFLAKE for ACCOUNTADMIN."""
    now = time.time()
    for database, schemas in _SHARED.items():
        owner = "ACCOUNTADMIN" if database == "SNOWFLAKE_SAMPLE_DATA" else "SNOWFLAKE"
        origin = "SFC_SAMPLES.SAMPLE_DATA" if database == "SNOWFLAKE_SAMPLE_DATA" else "SNOWFLAKE.ACCOUNT_USAGE"
        store.create("DATABASE", "", "", database, owner=owner, comment="", props={"origin": origin})
        role = "PUBLIC" if database == "SNOWFLAKE_SAMPLE_DATA" else "ACCOUNTADMIN"
        store.grant(Grant("USAGE", "DATABASE", "", "", database, role, False, owner, False, now))
        for schema in schemas:
            store.create("SCHEMA", database, "", schema, owner=owner, comment="")
            store.grant(Grant("USAGE", "SCHEMA", database, "", schema, role, False, owner, False, now))
