"""`${name}` and `${name:-default}` in the scalars of a manifest.

Replaced after parsing, so that a value cannot change the shape of a document; a scalar that is nothing but `${name}` takes the value's
type. `$${` stands for a literal `${`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controller.manifests.nodes import Node, YamlProblem, node_of, scalar
from controller.manifests.problems import did_you_mean

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_LENGTH = 1 << 20


class Values:
    """The values of a project for one account. Values may use other values."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._resolved: dict[str, Any] = {}
        self._open: list[str] = []
        self.undefined: set[str] = set()
        """Names that were asked for and are not defined."""

    def apply(self, node: Node) -> Node:
        """A tree with all scalars replaced; keys stay as they are.

        Raises:
            YamlProblem: a name that is not defined, or text after `${` that is not a name.
        """
        if isinstance(node.value, dict):
            fields = {key: self.apply(child) for key, child in node.value.items()}
            return Node(fields, node.line, node.lines, node.size)
        if isinstance(node.value, list):
            return Node([self.apply(child) for child in node.value], node.line, {}, node.size)
        if isinstance(node.value, str) and "${" in node.value:
            return node_of(self._text(node.value, node.line), node.line)
        return node

    def _text(self, text: str, line: int) -> Any:
        """A scalar with its replacements made. The type is kept when the scalar is one replacement and nothing else."""
        parts: list[Any] = []
        at = 0
        while True:
            start = text.find("${", at)
            if start < 0:
                break
            if start > at and text[start - 1] == "$":
                parts.append(text[at : start - 1] + "${")
                at = start + 2
                continue
            if start > at:
                parts.append(text[at:start])
            value, at = self._replacement(text, start, line)
            if start == 0 and at == len(text):
                return value
            if isinstance(value, dict | list):
                raise YamlProblem("a value that is a list or a mapping cannot be part of a text", line, "let it stand alone")
            parts.append("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
        joined = "".join([*parts, text[at:]])
        if len(joined) > _MAX_LENGTH:
            raise YamlProblem("the text is longer than 1 MiB after its values are filled in", line)
        return joined

    def _replacement(self, text: str, start: int, line: int) -> tuple[Any, int]:
        """The value of the `${…}` at `start`, and where the text goes on."""
        end = _closing(text, start)
        inside = text[start + 2 : end] if end else text[start + 2 :]
        match = _NAME.match(inside)
        rest = inside[match.end() :] if match else inside
        if not end or not match or (rest and not rest.startswith(":-")):
            raise YamlProblem("what follows '${' here is not ${name} or ${name:-default}", line, "write $${ for a literal ${")
        name = match[0]
        if name in self._values:
            return self._lookup(name, line), end + 1
        if rest:
            default = rest[2:]
            return (self._text(default, line) if "${" in default else scalar(default)), end + 1
        self.undefined.add(name)
        near = did_you_mean(name, self._values)
        known = ", ".join(sorted(self._values)) or "none"
        raise YamlProblem(f"the value ${{{name}}} is not defined", line, f"{near} snowcat.yaml has for this account: {known}".strip())

    def _lookup(self, name: str, line: int) -> Any:
        if name in self._open:
            raise YamlProblem(f"the value {name} is made of itself: {' → '.join([*self._open, name])}", line)
        if name not in self._resolved:
            self._open.append(name)
            try:
                self._resolved[name] = self.apply(node_of(self._values[name], line)).plain
            finally:
                self._open.pop()
        return self._resolved[name]


def _closing(text: str, start: int) -> int:
    """Where the `${` at `start` is closed; 0 when it is not."""
    depth, at = 0, start
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 2
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
            at += 1
        else:
            at += 1
    return 0
