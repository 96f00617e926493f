"""Whose is it? The mark in an object's comment decides, and nothing is changed or dropped without a yes from here.

An object with no mark belongs to somebody else until its manifest says `adopt: true`; another project's mark is never touched. A mark that
names another object than the one that carries it counts as none: somebody has copied a comment, or renamed or cloned an object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import unquote

from controller.api.base import ManagementPolicy
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import Observation
from controller.kinds.comments import from_attribute, marked_name
from controller.kinds.mark import Mark
from controller.reconcile.pause import is_paused
from controller.reconcile.planning.change import ObjectPlan


class Owner(StrEnum):
    NOBODY = "nobody"  # it does not exist
    OURS = "ours"
    MARK_LOST = "ours, without its mark"  # somebody wrote another comment over it
    ADOPTABLE = "adoptable"  # no mark, and the manifest takes it over
    UNMARKED = "unmarked"  # no mark, and the manifest does not say so
    OTHER_PROJECT = "other project"


@dataclass(frozen=True)
class Claim:
    """Whose an object is; for a refusal, why and what to do."""

    owner: Owner
    message: str = ""
    reason: str = ""  # CamelCase

    @property
    def refused(self) -> bool:
        return self.owner in (Owner.UNMARKED, Owner.OTHER_PROJECT)


def claim(obj: DesiredObject, seen: Observation, project: str, born: str = "") -> Claim:
    """Whether this project may change the object that was found under the manifest's name.

    `born` is when the object was created that last carried our mark under this name: without a mark, but of that very moment, it is still
    ours.
    """
    if not seen.exists:
        return Claim(Owner.NOBODY)
    if not seen.markable:
        return Claim(Owner.OURS)
    mark = seen.mark
    if mark is not None and mark.project != project:
        return Claim(
            Owner.OTHER_PROJECT,
            f"{obj.key} belongs to project {mark.project!r} (its comment says so); if this project was renamed, "
            "put the old name back in snowcat.yaml, else choose another name",
            "OwnedByOtherProject",
        )
    if mark is not None and written_for(mark, obj.key):
        return Claim(Owner.OURS)
    if born and seen.born == born:
        return Claim(Owner.MARK_LOST, "its comment was written over, and the mark with it", "MarkLost")
    if obj.manifest.metadata.adopt:
        return Claim(Owner.ADOPTABLE)
    owner = f" (owner {seen.owner})" if seen.owner else ""
    made = "was not made by Snowcat" if mark is None else f"its comment is that of {named_in(mark)}, copied or from before it was renamed"
    return Claim(
        Owner.UNMARKED,
        f"{obj.key} exists{owner} and {made}; set metadata.adopt: true to take it over, or choose another name",
        "NotOwned",
    )


def written_for(mark: Mark, key: ObjectKey) -> bool:
    """Whether a mark names the object that carries it."""
    return (mark.kind, marked_name(mark)) == (key.kind, key.name.name)


def named_in(mark: Mark) -> str:
    """The object that a mark names, as `Kind/name`."""
    return f"{mark.kind}/{from_attribute(mark.name)}"


def say_renamed(entries: dict[ObjectKey, ObjectPlan], project: str) -> dict[ObjectKey, ObjectPlan]:
    """The same entries; where all that exists (two objects or more) carries one other project's mark, each refusal says that the project
    was renamed.
    """
    marks = {entry.mark.project for entry in entries.values() if entry.mark is not None}
    others = {key: entry for key, entry in entries.items() if entry.change.block_reason == "OwnedByOtherProject"}
    if len(others) < 2 or len(marks) != 1:
        return entries
    (before,) = marks
    text = (
        f"belongs to project {before!r}, as does all else that exists of this project: it seems to have been renamed to {project!r}; "
        f"put 'project: {before}' back in snowcat.yaml, or, if this is a copy that is to stand beside it, give its objects other names"
    )
    renamed = {
        key: replace(entry, change=replace(entry.change, reason=f"{key} {text}", block_reason="ProjectRenamed"))
        for key, entry in others.items()
    }
    return {**entries, **renamed}


def may_drop(mark: Mark | None, project: str) -> bool:
    """Whether a leftover may be pruned: our mark, the permission that its last manifest gave, and nobody has suspended it."""
    allowed = mark is not None and mark.project == project and mark.attributes.get("delete") == "yes"
    return allowed and not is_paused(mark)


def kept_because(obj: DesiredObject) -> str:
    """Why `destroy` leaves an object that a manifest declares; '' when it may go."""
    if obj.manifest.metadata.management_policy is not ManagementPolicy.FULL:
        return f"managementPolicy is {obj.manifest.metadata.management_policy}"
    if obj.manifest.deletion_policy != "delete":
        return "deletionPolicy is orphan" + ("" if obj.manifest.metadata.deletion_policy else ", the default for what holds data")
    if obj.manifest.metadata.suspend:
        return "it is suspended in its manifest"
    return ""


def parent_of(mark: Mark | None) -> str | None:
    """The composite that an object was expanded from, as `Kind/name`."""
    return unquote(mark.attributes.get("parent", "")) or None if mark else None
