"""The faults endpoint of an embedded account, as a test (or anybody) talks to it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 60.0  # seconds; only how long a broken account keeps the tests waiting


class Faults:
    """The endpoint of the account in a state folder. account.json is read anew each time: an account that came back may be elsewhere."""

    def __init__(self, state: Path) -> None:
        self._file = state / "account.json"

    def _ask(self, method: str, path: str = "", body: Any = None, **query: Any) -> Any:
        endpoint = json.loads(self._file.read_text())["faults"]
        answer = httpx.request(
            method,
            endpoint["url"] + path,
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {endpoint['token']}"},
            timeout=PATIENCE,
        )
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
        return answer.json()

    def put(self, *rules: dict[str, Any], seed: int = 0) -> Any:
        """Replaces all rules; what is held goes on."""
        return self._ask("PUT", body={"seed": seed, "rules": list(rules)})

    def add(self, *rules: dict[str, Any]) -> Any:
        return self._ask("POST", body={"rules": list(rules)})

    def clear(self) -> Any:
        return self._ask("DELETE")

    def rules(self) -> list[dict[str, Any]]:
        """With `matched` and `fired`."""
        return list(self._ask("GET")["rules"])

    def fired(self) -> int:
        """How many faults have happened under the rules in force."""
        return sum(rule["fired"] for rule in self.rules())

    def held(self) -> list[dict[str, Any]]:
        return list(self._ask("GET")["held"])

    def await_held(self, count: int = 1, patience: float = PATIENCE) -> list[dict[str, Any]]:
        """What is held, once it is so many. `patience` in seconds is only how long a broken client keeps the tests waiting."""
        until = time.monotonic() + patience
        while len(found := self.held()) < count:
            assert time.monotonic() < until, f"{len(found)} statements are held, not {count}; the rules: {self.rules()}"
            time.sleep(0.01)
        return found

    def release(self, identifier: int | None = None, *, cancel: bool = False) -> list[int]:
        """Lets one held statement go on (None: all); with `cancel` it ends and has no effect."""
        body = {"cancel": cancel} if identifier is None else {"id": identifier, "cancel": cancel}
        return list(self._ask("POST", "/release", body)["released"])

    def kill_node(self, pool: str) -> str:
        return str(self._ask("POST", "/node", {"pool": pool})["node"])

    def statements(self, since: int = 0) -> list[dict[str, Any]]:
        return list(self._ask("GET", "/statements", since=since))
