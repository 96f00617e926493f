"""Readiness and liveness probes: an HTTP GET that has to answer 200, at the container's own pace, off the runtime's thread."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import httpx

from emulator.runtime.spec import Probe

_TIMEOUT = 5.0
_MINIMUM_PERIOD = 0.1
_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe")
_client = httpx.Client(timeout=_TIMEOUT, trust_env=False, follow_redirects=False)


class Prober:
    """Asks one probe again and again. `tick` is called often and never blocks."""

    def __init__(self, probe: Probe, port: int, time_scale: float) -> None:
        self.probe = probe
        self._url = f"http://127.0.0.1:{port}{probe.path}"
        self._period = max(_MINIMUM_PERIOD, probe.period_seconds * min(time_scale, 1.0))
        self._next = 0.0
        self._pending: Future[bool] | None = None
        self._lock = threading.Lock()
        self.passed = False
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether it failed as often in a row as the specification allows."""
        return self.failures >= self.probe.failure_threshold

    @property
    def message(self) -> str:
        return f"Readiness probe is failing at path: {self.probe.path}, port: {self.probe.port}"

    def tick(self, now: float) -> None:
        with self._lock:
            if self._pending is not None:
                if not self._pending.done():
                    return
                if self._pending.result():
                    self.passed, self.failures = True, 0
                else:
                    self.failures += 1
                    if self.exhausted:
                        self.passed = False
                self._pending = None
                self._next = now + self._period
            elif now >= self._next:
                self._pending = _pool.submit(_ask, self._url)


def _ask(url: str) -> bool:
    try:
        return _client.get(url).status_code == 200
    except httpx.HTTPError:
        return False
