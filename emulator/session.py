"""A client's session: who, as which role, where, with which parameters."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Session:
    """The state that USE and ALTER SESSION change. Names are in stored form; None means not set.

    `fixed_role` is the only role (beside PUBLIC) of a session that a container's token opened. `secondary_roles` is
    False for NONE (the default here, so that the primary role alone decides) and True for ALL.
    """

    id: int
    user: str
    role: str
    warehouse: str | None = None
    database: str | None = None
    schema: str | None = None
    secondary_roles: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    created_on: float = field(default_factory=time.time)
    client: str = ""
    fixed_role: str | None = None
    last_query_ids: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    transaction: Any = field(default=None, repr=False)
    ended: bool = False

    def durable(self) -> dict[str, Any]:
        """What a restart of the account must bring back."""
        return {
            "user": self.user,
            "role": self.role,
            "warehouse": self.warehouse,
            "database": self.database,
            "schema": self.schema,
            "secondary_roles": self.secondary_roles,
            "parameters": self.parameters,
            "variables": self.variables,
            "created_on": self.created_on,
            "client": self.client,
            "fixed_role": self.fixed_role,
        }
