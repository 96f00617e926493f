"""Hypothesis strategies that all kinds share: names, comments, labels and the ways in which metadata can be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

Document = Mapping[str, Any]

over_the_wire = settings(
    max_examples=max(4, settings.default.max_examples // 25),
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.shrink],
)
"""For properties whose every example is dozens of statements: a few in `make test`, more in `make test-deep`.

What fails is told as it was found: making it smaller costs minutes of statements.
"""

bare_names = st.from_regex(r"[tT]_[A-Za-z0-9_$]{0,20}", fullmatch=True)  # not a word of the grammar, nor a name of the account's own
_quotable = st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"])
quoted_names = st.text(_quotable, min_size=1, max_size=12).map(lambda text: '"' + text.replace('"', '""') + '"')
names = bare_names | quoted_names
"""Names as a person writes them in a manifest."""

_awkward = st.sampled_from(
    [
        "it's",
        '"quoted"',
        "back\\slash",
        "[brackets]",
        "[snowcat x/Y/z]",
        "two\nlines",
        "tab\there",
        "ünï-cødé 雪猫",
        "🐈",
        "${a}",
        "$$",
        "-- x",
        "/*",
    ]
)
_plain = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20)
comments = st.none() | st.lists(_awkward | _plain, max_size=4).map(" ".join)

_labels = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), st.text(max_size=5), max_size=2)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping in which each field may be left out; one that is None is left out too."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda made: {key: value for key, value in made.items() if value is not None})


@st.composite
def manifests(
    draw: st.DrawFn,
    kind: str,
    spec: st.SearchStrategy[Mapping[str, Any]],
    *,
    name: st.SearchStrategy[str] = names,
    place: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A whole manifest: a name, a spec, and metadata that changes how the object is treated but not what it is.

    `ignore` names fields of this very spec, so that a manifest that leaves some of them to others closes its round trip too.
    """
    drawn = dict(draw(spec))
    metadata: dict[str, Any] = {"name": draw(name), **(place or {})}
    metadata |= draw(
        optional(
            labels=_labels,
            managementPolicy=st.sampled_from(["full", "orphan"]),
            deletionPolicy=st.sampled_from(["delete", "orphan"]),
            replace=st.sampled_from(["never", "allowed"]),
            ignore=st.lists(st.sampled_from(sorted(drawn)), unique=True) if drawn else st.just([]),
        )
    )
    return {"kind": kind, "metadata": metadata, "spec": drawn}
