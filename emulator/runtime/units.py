"""Memory and CPU quantities as service specifications write them (`0.5Gi`, `500m`)."""

from __future__ import annotations

import re

_FACTORS = {
    "": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)\s*([kKMGT]i?|m)?$")


def parse_memory(text: object) -> int:
    """Bytes. Raises ValueError when there is no unit, as the specification reference asks for one."""
    match = _QUANTITY.match(str(text).strip())
    if not match or match[2] in (None, "m"):
        raise ValueError(f"{text!r} is not a memory size with a unit (for example 512Mi or 2Gi)")
    return int(float(match[1]) * _FACTORS[match[2]])


def parse_cpu(text: object) -> float:
    """Cores: `2`, `0.5` or `500m`."""
    match = _QUANTITY.match(str(text).strip())
    if not match or match[2] not in (None, "m"):
        raise ValueError(f"{text!r} is not a number of CPUs (for example 0.5 or 500m)")
    return float(match[1]) / (1000 if match[2] == "m" else 1)


def format_memory(size: int) -> str:
    """Shortest Gi form, as DESCRIBE SERVICE prints derived sizes."""
    return f"{size / 2**30:g}Gi"


def format_cpu(cores: float) -> str:
    return f"{cores:g}"
