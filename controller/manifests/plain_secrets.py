"""Finds secrets that stand in a manifest as plain text. They would end in git, in plans and in the account's query history."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controller.manifests.nodes import Node

HINT = "keep it out of the file: make a Secret with valueFrom: {env: …} and refer to that"

# Names, compared without case, '-' and '_', that hold a secret in every system we know.
_NAMES = re.compile(r"(password|passwd|passphrase|token|secretstring|apikey|secretkey|accesskey|privatekey|credentials?)$")
_SECRET_SPEC = ("value", "secret", "string", "valuefrom")  # in a Secret's spec there is no other reason to write text there
_HARMLESS = re.compile(r"/|\$\{|@")  # a path, a value still to be filled in, a stage

# What the issuers of tokens promise about their shape.
_SHAPES = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|AKIA[0-9A-Z]{16}|xox[abp]-[A-Za-z0-9-]{20,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def plain_secrets(node: Node, kind: str = "", path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of the scalars that look like a secret. Values are never returned."""
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from plain_secrets(child, kind, (*path, key))
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from plain_secrets(child, kind, (*path, index))
    elif isinstance(node.value, str) and node.value and (_SHAPES.search(node.value) or _named(path, kind, node.value)):
        yield path


def _named(path: tuple[str | int, ...], kind: str, value: str) -> bool:
    names = [segment for segment in path if isinstance(segment, str)]
    if not names or _HARMLESS.match(value):
        return False
    if names == ["kind"] or names[0] == "metadata":
        return False
    if len(names) > 1 and names[-2] == "valueFrom":  # the name of a variable, a file, a command
        return False
    if kind == "Secret" and (names == ["spec"] or (names[0] == "spec" and _plain(names[-1]) in _SECRET_SPEC)):
        return True
    return is_secret_name(names[-1])


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, in any kind."""
    return bool(_NAMES.search(_plain(name)))


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()
