"""Snowflake's driver, imported in this one place: see `controller.account.lean`."""

from __future__ import annotations

from controller.account.lean import hidden

with hidden("pandas", "pyarrow"):
    import snowflake.connector as connector
    from snowflake.connector.errors import DatabaseError, OperationalError
    from snowflake.connector.errors import Error as DriverError

__all__ = ["DatabaseError", "DriverError", "OperationalError", "connector"]
