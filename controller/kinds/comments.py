"""The comment that a kind writes: the user's own text and the ownership mark, made in one place so that all kinds mark alike.

Attributes that every mark may carry: `delete=yes` (the manifest allows the object to be dropped, also after the manifest is gone) and
`parent=Kind/name` (the composite that it was expanded from). Kinds add their own. Those of `CARRIED` say what was done to the object and
why, not what its manifest asks for: they stay until somebody takes them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote, unquote

from controller.api.base import DeletionPolicy, ManagementPolicy
from controller.api.names import Identifier, NameProblem
from controller.api.objects import DesiredObject
from controller.kinds.base import FieldChange, View
from controller.kinds.mark import Mark, join_comment, split_comment

_KEPT = "!\"#$&'()*+,-./:;<=>?@[\\^_`{|}~"  # all but blanks, ']' and '%' stand in a mark as they are

CARRIED = ("paused", "pausedBy", "pausedWith", "held", "queue")
"""`paused=yes`: by `snowcat suspend`, with who and when in `pausedBy`, and in `pausedWith` the composite that was suspended as a whole;
`held=Kind/name`: suspended to make room for that object; `queue=…`: who waits for a pool's room."""


def mark_for(obj: DesiredObject, view: View, current: Mark | None = None, **attributes: str) -> Mark:
    """The mark of an object as it should be now.

    An attribute with an empty value is left out; what is carried over from the `current` mark goes by `attributes` where they name it.
    """
    name = as_attribute(str(obj.key).partition("/")[2])
    ours = current is not None and (current.project, current.kind, current.name) == (view.project.name, obj.key.kind, name)
    carried = {key: current.attributes[key] for key in CARRIED if key in current.attributes} if current is not None and ours else {}
    pairs = {key: value for key, value in {**carried, **attributes}.items() if value}
    metadata = obj.manifest.metadata
    if obj.manifest.deletion_policy is DeletionPolicy.DELETE and metadata.management_policy is ManagementPolicy.FULL:
        pairs["delete"] = "yes"
    if obj.parent is not None:
        pairs["parent"] = as_attribute(str(obj.parent))
    return Mark(view.project.name, obj.key.kind, name, pairs)


def remarked(comment: str | None, view: View, attributes: Mapping[str, str]) -> str | None:
    """A comment with attributes of its mark set, an empty one taken out; None when it carries no mark of this project."""
    text, mark = split_comment(comment)
    if mark is None or mark.project != view.project.name:
        return None
    pairs = {key: value for key, value in {**mark.attributes, **attributes}.items() if value}
    return join_comment(text, replace(mark, attributes=pairs))


def as_attribute(text: str) -> str:
    """Text as the value of a mark's attribute can hold it; `from_attribute` gives it back."""
    return quote(text, safe=_KEPT)


def from_attribute(text: str) -> str:
    return unquote(text)


def marked_name(mark: Mark) -> Identifier | None:
    """The last part of the name in a mark; None when somebody has written something there that is no name."""
    try:
        return Identifier.parse(unquote(mark.name))
    except NameProblem:
        return None


def user_text(obj: DesiredObject) -> str:
    """The comment that the manifest asks for, without a mark."""
    return (getattr(obj.manifest.spec, "comment", None) or "").strip()


def marked_comment(obj: DesiredObject, view: View, **attributes: str) -> str:
    """The whole comment to write: the manifest's text, where its kind has one, then the mark."""
    return join_comment(user_text(obj), mark_for(obj, view, None, **attributes))


def renewed_comment(obj: DesiredObject, view: View, current: str | None, **attributes: str) -> str:
    """As `marked_comment`, but with the text that is there now where the manifest leaves `comment` to others."""
    text, mark = split_comment(current)
    return join_comment(text if "comment" in obj.manifest.metadata.ignore else user_text(obj), mark_for(obj, view, mark, **attributes))


def comment_drift(obj: DesiredObject, view: View, current: str | None, **attributes: str) -> tuple[FieldChange, ...]:
    """How the comment differs: the text, and the mark where the object carries one of this project. A missing mark is no drift."""
    text, mark = split_comment(current)
    changes = []
    if text.strip() != user_text(obj):
        changes.append(FieldChange("comment", text.strip(), user_text(obj)))
    wanted = mark_for(obj, view, mark, **attributes)
    observed = obj.manifest.metadata.management_policy is ManagementPolicy.OBSERVE  # then its mark is left as it is, and no news
    if mark is not None and mark.project == view.project.name and mark != wanted and not observed:
        changes.append(FieldChange("mark", str(mark), str(wanted)))
    return tuple(changes)
