"""Entry point of the workspace image: JupyterLab on the mounted stage.

The service's ingress has already signed the user in, so Jupyter asks for nothing more. A stage mount takes whole files
only: Jupyter's habit of writing beside and renaming is switched off, and its own notes stay off the stage.
"""

from __future__ import annotations

import os
import sys
import tempfile

from container import paths, settings
from training.errors import TrainingError


def command(port: int, notes: str) -> list[str]:
    """The command line of JupyterLab; `notes` is a local folder for its checkpoints."""
    root = paths.real(os.environ.get("SNOWCAT_WORKSPACE_ROOT", paths.STAGE))
    root.mkdir(parents=True, exist_ok=True)
    options = {
        "ip": settings.listen_host(),
        "port": port,
        "port_retries": 0,
        "root_dir": root,
        "open_browser": False,
        "allow_remote_access": True,
        "allow_root": True,
        "quit_button": False,
    }
    lines = [f"--ServerApp.{name}={value}" for name, value in options.items()]
    lines += ["--IdentityProvider.token=", "--FileContentsManager.use_atomic_writing=False"]
    lines += [f"--FileCheckpoints.checkpoint_dir={notes}"]
    return [sys.executable, "-m", "jupyterlab", *lines]


def main() -> None:
    """Replace this process by JupyterLab, so that signals reach it."""
    try:
        line = command(settings.number("SNOWCAT_PORT", 8888), tempfile.mkdtemp(prefix="snowcat-jupyter-"))
    except TrainingError as error:
        settings.end(error)
    os.execv(line[0], line)  # noqa: S606 - our own command line, no shell


if __name__ == "__main__":
    main()
