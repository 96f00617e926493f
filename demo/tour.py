"""`make tour`: the lab on a quick path, and four things that go wrong on the way. Each heals, with a line that says what happened.

Works on a copy of the manifests and on an account of its own, both under .snowcat/tour, which are made new each time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lab import ROOT, Clock, Lab, edit, quick_manifests, rows
from rich.console import Console

CONSOLE = Console(highlight=False)
PATIENCE = 900.0  # seconds until the tour gives up on something that should have happened


class Daemon:
    """`snowcat run` as a process of its own; its log lines go to the screen, dimmed."""

    def __init__(self, lab: Lab) -> None:
        self.process = subprocess.Popen(
            lab.command("run", str(lab.manifests), "--local"),
            env=lab.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._show, daemon=True).start()

    def _show(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not re.search(r"  (statement|effect|done)  ", line):  # what happened, not how
                CONSOLE.print("  " + line.rstrip(), style="dim", markup=False, no_wrap=True, overflow="ellipsis")

    def kill(self) -> None:
        """As a machine that loses power would: no goodbye."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


def say(text: str) -> None:
    CONSOLE.print(f"\n[bold cyan]▸ {text}[/]")


def healed(text: str) -> None:
    CONSOLE.print(f"[bold green]✓ {text}[/]")


def wait(what: str, done: Callable[[], Any]) -> Any:
    """Ask until the answer is true; the answer. Raises TimeoutError that names what did not happen."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if answer := done():
                return answer
        except RuntimeError:  # the command may find the account busy starting
            pass
        time.sleep(1.0)
    raise TimeoutError(f"waited {PATIENCE:.0f} s in vain: {what}")


def status(lab: Lab, name: str) -> dict[str, Any]:
    return next((item for item in lab.objects() if item["object"] == name), {})


def jobs(lab: Lab) -> list[str]:
    with lab.connect() as connection:
        return [row["name"] for row in rows(connection, "SHOW JOB SERVICES LIKE 'TOY_WISHES_%' IN ACCOUNT")]


def pool_nodes(lab: Lab) -> int:
    with lab.connect() as connection:
        return int(rows(connection, "SHOW COMPUTE POOLS LIKE 'LLM_FINETUNE_POOL'")[0]["max_nodes"])


def suspend_after(lab: Lab) -> int:
    with lab.connect() as connection:
        return int(rows(connection, "SHOW WAREHOUSES LIKE 'LLM_FINETUNE_WH'")[0]["auto_suspend"])


def main() -> int:
    clock = Clock()
    folder = ROOT / ".snowcat" / "tour"
    lab = Lab(folder / "manifests", folder / "account")
    if (lab.state / "account.json").exists():
        lab.snowcat("local", "stop")
    shutil.rmtree(folder, ignore_errors=True)
    lab.state.mkdir(parents=True)
    quick_manifests(lab.manifests)

    say("An empty account, and the daemon: snowcat run manifests/lab --local")
    daemon = Daemon(lab)
    try:
        wait(
            "the fine-tune makes its first steps", lambda: re.search(r"\bstep\b", str(status(lab, "FineTuneJob/toy_wishes").get("message")))
        )
        before = jobs(lab)

        say("The daemon is killed in the middle of the training (kill -9), and started again")
        daemon.kill()
        daemon = Daemon(lab)

        say("Meanwhile someone changes the pool by hand: ALTER COMPUTE POOL llm_finetune_pool SET MAX_NODES = 3")
        with lab.connect() as connection:
            rows(connection, "ALTER COMPUTE POOL llm_finetune_pool SET MAX_NODES = 3")
        wait("the pool is back at one node", lambda: pool_nodes(lab) == 1)
        healed("the daemon saw the drift and set MAX_NODES back to 1, as the manifest says")

        say("Someone saves a file that is no YAML: compute.yaml")
        good = (lab.manifests / "compute.yaml").read_text(encoding="utf-8")
        (lab.manifests / "compute.yaml").write_text("spec: {instanceFamily: [\n", encoding="utf-8")
        checked = subprocess.run(
            lab.command("validate", str(lab.manifests)), env=lab.environment, capture_output=True, text=True, check=False
        )
        CONSOLE.print("  " + (checked.stdout + checked.stderr).strip(), style="dim", markup=False)

        say("and, with that file still broken, a number in another one: autoSuspend of llm_finetune_wh from 180 to 240")
        edit(lab.manifests / "account.yaml", r"autoSuspend: 180", "autoSuspend: 240")
        wait("the warehouse has the new number", lambda: suspend_after(lab) == 240)
        healed("the warehouse was changed at once: the broken file held nothing up, and its pool was left as it was")
        (lab.manifests / "compute.yaml").write_text(good, encoding="utf-8")
        healed("compute.yaml is whole again")

        say("And the training?")
        wait("the fine-tune is done", lambda: status(lab, "FineTuneJob/toy_wishes").get("health") == "Healthy")
        if jobs(lab) != before:
            CONSOLE.print(f"the killed daemon cost a second training: {before} before, {jobs(lab)} now", style="red")
            return 1
        healed(f"the new daemon found its own job {before[0]} and waited for it: trained once, nothing lost")
        wait("every object is healthy", lambda: all(item["health"] == "Healthy" for item in lab.objects()))
        lab.snowcat("get", str(lab.manifests), "--local")
        healed(f"every object is healthy after {clock}")
    finally:
        daemon.stop()
        lab.snowcat("local", "stop")
    return 0


if __name__ == "__main__":
    sys.exit(main())
