"""Reach the account from inside one of its containers, as SPCS offers it: by environment and a token file.

The token is short-lived and rewritten by the platform, so it is read anew for every connection.
"""

from __future__ import annotations

import os
import re
from typing import Any

import snowflake.connector

from container import paths
from training.errors import BadInputError

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)'
TABLE_NAME = re.compile(rf"{IDENTIFIER}(?:\.{IDENTIFIER}){{0,2}}")


def connect() -> Any:
    """A connection as the service's own user. Raises BadInputError outside of a container."""
    missing = [name for name in ("SNOWFLAKE_HOST", "SNOWFLAKE_ACCOUNT") if not os.environ.get(name)]
    token = paths.real(paths.SESSION_TOKEN)
    if missing or not token.is_file():
        lacking = ", ".join(missing) or str(token)
        raise BadInputError(f"not inside a service of an account: {lacking} is missing")
    optional = {
        "database": os.environ.get("SNOWFLAKE_DATABASE"),
        "schema": os.environ.get("SNOWFLAKE_SCHEMA"),
        "warehouse": os.environ.get("SNOWFLAKE_WAREHOUSE"),
    }
    return snowflake.connector.connect(
        host=os.environ["SNOWFLAKE_HOST"],
        port=int(os.environ.get("SNOWFLAKE_PORT") or 443),
        protocol=os.environ.get("SNOWFLAKE_PROTOCOL") or "https",
        account=os.environ["SNOWFLAKE_ACCOUNT"],
        authenticator="oauth",
        token=token.read_text(encoding="utf-8").strip(),
        **{name: value for name, value in optional.items() if value},
    )
