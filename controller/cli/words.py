"""`snowcat get computepool Stage/files manifests/lab`: which of the words are kinds, objects and the folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from controller.api.names import NameProblem, QualifiedName
from controller.api.objects import ObjectKey
from controller.cli.errors import INVALID, Failure
from controller.cli.target import Target
from controller.kinds.registry import KINDS
from controller.manifests.problems import did_you_mean


@dataclass(frozen=True)
class Wanted:
    """What a command is about. Nothing chosen is everything."""

    target: Target
    kinds: frozenset[str] = frozenset()
    names: tuple[tuple[str, QualifiedName], ...] = ()

    def matches(self, key: ObjectKey) -> bool:
        return (not self.kinds and not self.names) or key.kind in self.kinds or any(_is(key, kind, name) for kind, name in self.names)

    def checked(self, keys: Iterable[ObjectKey]) -> None:
        """Each object that was named must be among these.

        Raises:
            Failure: one is not; the message names the nearest.
        """
        keys = list(keys)
        for kind, name in self.names:
            if not any(_is(key, kind, name) for key in keys):
                said = f"{kind}/{str(name).lower()}"
                near = did_you_mean(said, [str(key) for key in keys]) or f"there are: {', '.join(sorted(str(k) for k in keys)) or 'none'}"
                raise Failure(f"there is no {said} in this project; {near}", INVALID)


def targeted(words: list[str] | None, connection: str | None, local: bool, account: str | None, state: Path | None) -> Wanted:
    """Sort the words of a command line.

    Raises:
        Failure: a word is neither a kind, nor an object, nor a path that exists.
    """
    kinds: set[str] = set()
    names: list[tuple[str, QualifiedName]] = []
    folders: list[Path] = []
    for word in words or []:
        head, slash, tail = word.partition("/")
        kind = kind_named(head)
        if Path(word).exists() and not (kind and not slash):
            folders.append(Path(word))
        elif kind and slash:
            names.append((kind, _name(tail)))
        elif kind:
            kinds.add(kind)
        else:
            raise Failure(
                f"{word!r} is no kind, no KIND/NAME and no path; {did_you_mean(head, KINDS) or 'kinds: ' + ', '.join(KINDS)}", INVALID
            )
    if len(folders) > 1:
        raise Failure(f"one project at a time: {', '.join(str(folder) for folder in folders)}", INVALID)
    return Wanted(Target(folders[0] if folders else Path(), connection, local, account, state), frozenset(kinds), tuple(names))


def one_key(text: str, keys: Iterable[ObjectKey], *, exact: bool = False) -> ObjectKey:
    """The object that `Kind/name` means, or, unless `exact`, a name alone that only one object has.

    Raises:
        Failure: none or several.
    """
    keys = list(keys)
    found = [] if exact and "/" not in text else _meant(text, keys)
    head, slash, tail = text.partition("/")
    kind = kind_named(head)
    if len(found) > 1:
        few = f"{kind}/database.schema.name" if slash else "KIND/NAME"
        raise Failure(f"{text} may be any of {', '.join(str(key.name) if slash else str(key) for key in found)}: write {few}", INVALID)
    if not found and (kind is None or not tail):
        if kind is not None:
            there = sorted(str(key) for key in keys if key.kind == kind)
            raise Failure(f"{text!r} is a kind and names no object; write {' or '.join(there[:5]) or f'{kind}/NAME'}", INVALID)
        near = [str(key) for key in keys if did_you_mean(text, [str(key).partition("/")[2]])]
        hint = f"did you mean {' or '.join(near)}?" if near and not slash else did_you_mean(head, KINDS) or "kinds: " + ", ".join(KINDS)
        raise Failure(f"{text!r} is not KIND/NAME; {hint}", INVALID)
    if not found:
        names = [str(key) for key in keys]
        raise Failure(
            f"there is no {text} in this project; {did_you_mean(text, names) or 'there are: ' + ', '.join(sorted(names))}", INVALID
        )
    return found[0]


def any_named(text: str, keys: Iterable[ObjectKey]) -> bool:
    """Whether `Kind/name`, or a name alone, means at least one of these."""
    return bool(_meant(text, keys))


def _meant(text: str, keys: Iterable[ObjectKey]) -> list[ObjectKey]:
    head, slash, tail = text.partition("/")
    kind = kind_named(head)
    if not slash:
        return [key for key in keys if _is(key, key.kind, _name(text))]
    return [key for key in keys if _is(key, kind, _name(tail))] if kind and tail else []


def kind_named(word: str) -> str | None:
    """A kind by its name, in any case, also in the plural."""
    known = {name.lower(): name for name in KINDS}
    lower = word.lower()
    forms = (lower, lower.removesuffix("s"), f"{lower.removesuffix('ies')}y")
    return next((known[form] for form in forms if form in known), None)


def _name(text: str) -> QualifiedName:
    try:
        return QualifiedName.parse(text)
    except NameProblem as error:
        raise Failure(str(error), INVALID) from None


def _is(key: ObjectKey, kind: str, name: QualifiedName) -> bool:
    return key.kind == kind and key.name.parts[-len(name.parts) :] == name.parts
