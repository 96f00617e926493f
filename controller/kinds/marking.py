"""Writing the ownership mark: which attributes every object's mark carries, and the comment that holds it."""

from __future__ import annotations

from controller.api.base import DeletionPolicy, ManagementPolicy
from controller.api.objects import DesiredObject
from controller.kinds.base import View
from controller.kinds.mark import Mark, join_comment


def mark_for(obj: DesiredObject, view: View, **attributes: str) -> Mark:
    """The mark of an object. `delete=yes` lets a prune drop it once its manifest is gone; `parent` names the composite it belongs to."""
    pairs = {key: value for key, value in attributes.items() if value}
    metadata = obj.manifest.metadata
    if obj.manifest.deletion_policy is DeletionPolicy.DELETE and metadata.management_policy is ManagementPolicy.FULL:
        pairs["delete"] = "yes"
    if obj.parent is not None:
        pairs["parent"] = str(obj.parent)
    return Mark(view.project.name, obj.key.kind, str(obj.key).partition("/")[2], pairs)


def marked_comment(obj: DesiredObject, view: View, **attributes: str) -> str:
    """The user's own comment, where the kind's spec has one, and the mark."""
    return join_comment(user_comment(obj), mark_for(obj, view, **attributes))


def user_comment(obj: DesiredObject) -> str:
    return getattr(obj.manifest.spec, "comment", None) or ""
