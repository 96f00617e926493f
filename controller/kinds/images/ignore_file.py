"""Which files of a build context are left out: the patterns of a `.dockerignore`.

Source: docs.docker.com/build/concepts/context (Go's filepath.Match with `**`, later lines win, `!` takes a file back).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class IgnoreRules:
    """Compiled patterns, in order: (expression, whether it takes back)."""

    rules: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> IgnoreRules:
        rules = []
        for raw in lines:
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            taken_back = line.startswith("!")
            pattern = line.lstrip("!").strip().strip("/").removeprefix("./")
            if pattern:
                rules.append((re.compile(_expression(pattern) + r"(?:/.*)?", re.DOTALL), taken_back))
        return cls(tuple(rules))

    def ignores(self, path: str) -> bool:
        """Whether a file is left out; `path` is relative to the context with `/` between its parts."""
        ignored = False
        for expression, taken_back in self.rules:
            if ignored == taken_back and expression.fullmatch(path):
                ignored = not taken_back
        return ignored


def _expression(pattern: str) -> str:
    """One pattern as a regular expression over the whole path."""
    out, position = "", 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            out, position = out + "(?:.*/)?", position + 3
        elif pattern.startswith("**", position):
            out, position = out + ".*", position + 2
        elif pattern[position] == "*":
            out, position = out + "[^/]*", position + 1
        elif pattern[position] == "?":
            out, position = out + "[^/]", position + 1
        elif pattern[position] == "[" and "]" in pattern[position:]:
            end = pattern.index("]", position)
            out, position = out + pattern[position : end + 1].replace("[!", "[^"), end + 1
        else:
            out, position = out + re.escape(pattern[position]), position + 1
    return out
