"""The environment, arguments and paths that a container's process sees."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from emulator.registry.unpack import ImageConfig
from emulator.runtime.ports import rewrite
from emulator.runtime.spec import ContainerSpec

HOME = "/home/snowcat"
_PASSED = ("LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Paths:
    """Where the container's paths really are. With a private root everything is where it says.

    `root` None is a private root; else declared paths (`declared`: mounts and the image's top folders) live below `root`, and
    are rewritten wherever they stand in arguments and environment.
    """

    root: Path | None
    declared: tuple[str, ...]

    def real(self, path: str) -> str:
        return path if self.root is None else f"{self.root}{path}"

    def rewrite(self, text: str) -> str:
        if self.root is None or not self.declared:
            return text
        longest_first = sorted(self.declared, key=len, reverse=True)
        alternatives = "|".join(re.escape(path) for path in longest_first)
        return re.sub(rf"(?<![\w./-])({alternatives})(?![\w.-])", lambda m: f"{self.root}{m[1]}", text)


@dataclass(frozen=True)
class Start:
    """What is executed."""

    argv: list[str]
    environment: dict[str, str]
    directory: str


def compose(
    spec: ContainerSpec,
    image: ImageConfig,
    *,
    account: dict[str, str],
    secrets: dict[str, str],
    ports: dict[int, int],
    endpoints: dict[str, int],
    paths: Paths,
) -> Start:
    """Command, environment and directory of a container.

    `account` are the SNOWFLAKE_* variables, `secrets` variables from secrets, `ports` declared → real port, `endpoints`
    endpoint name → real port.
    """
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    environment |= {name.lower(): os.environ[name.lower()] for name in _PASSED if name.lower() in os.environ}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment.setdefault("LANG", "C.UTF-8")
    environment |= {"HOME": paths.real(HOME), "TMPDIR": paths.real("/tmp")}  # noqa: S108 - private to the container
    for name, port in endpoints.items():
        environment[f"SNOWCAT_PORT_{name.upper().replace('-', '_')}"] = str(port)
    if endpoints:
        first = str(next(iter(endpoints.values())))
        environment |= {"SNOWCAT_PORT": first, "PORT": first}
    if paths.root is not None:
        environment["SNOWCAT_ROOT"] = str(paths.root)
    environment |= {key: paths.rewrite(rewrite(value, ports)) for key, value in image.environment.items()}
    environment |= account
    environment |= {key: paths.rewrite(rewrite(value, ports)) for key, value in spec.env.items()}
    environment |= secrets
    # This Python first, so that `python` in an image is the interpreter that runs the account, with its packages.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', _SYSTEM_PATH)}"
    command = list(spec.command if spec.command is not None else image.entrypoint)
    arguments = spec.args if spec.args is not None else (() if spec.command is not None else image.command)
    argv = [paths.rewrite(rewrite(word, ports)) for word in [*command, *arguments]]
    return Start(argv, environment, paths.real(image.working_directory))
