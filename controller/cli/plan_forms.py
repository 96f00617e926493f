"""A plan as people read it: lines for a terminal, a script of SQL, and a comment for a pull request. Pure; `plan.py` prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controller.account.redact import redact
from controller.reconcile.planning.change import Action, Block, Change, Cost, Plan

_SIGNS = {Action.CREATE: "+", Action.UPDATE: "~", Action.REPLACE: "±", Action.DELETE: "-", Action.ADOPT: "=", Action.NONE: " "}
_BLOCKED = {Block.HELD: ("·", "kept"), Block.WAITING: ("…", "waits"), Block.STALLED: ("!", "blocked")}
_DOCUMENT = re.compile(r"\$\$\n(.*?)\$\$", re.DOTALL)
_SHORT_DOCUMENT = 3  # lines
_MOST_LINES = 12
_VALUE = 120
COMMENT_LIMIT = 65_536
"""Characters of a comment on GitHub. Source: its API refuses a longer body with 'body is too long (maximum is 65536 characters)'."""
_ROOM = COMMENT_LIMIT - 1_000  # for the notes and closing tags; counted in bytes, which are never fewer than characters


def shown(plan: Plan) -> list[Change]:
    """What a reader is told of: everything but what is as it should be."""
    return [change for change in plan.changes if change.action is not Action.NONE]


def label(change: Change) -> str:
    """`create`, `replace`, … and for what is not done why: `kept`, `waits`, `blocked`."""
    return _BLOCKED[change.block][1] if change.block else change.action.value


# ---- for a terminal --------------------------------------------------------------------------------------------------------------------


def plan_lines(plan: Plan, *, full: bool = False) -> Iterator[str]:
    """Each change with its reason, its fields and its SQL; what is left alone, and a sum at the end."""
    changes = shown(plan)
    for change in changes:
        if change.block is not Block.HELD:
            yield from change_lines(change, full=full)
    for change in changes:
        if change.block is Block.HELD:
            yield from change_lines(change, full=full)
    for key, jobs in plan.later.items():
        yield f"… later    {key}  may follow {', '.join(map(str, jobs))}"
    for change in plan.destructive:
        yield f"DESTRUCTIVE: {_loss(change)}"
    yield summary(plan)


def change_lines(change: Change, *, full: bool = False) -> Iterator[str]:
    """One change. Unless `full`, documents in statements and long values are cut."""
    sign = _BLOCKED[change.block][0] if change.block else _SIGNS[change.action]
    reason = f"  {change.reason}" if change.reason else ""
    warning = "  DESTRUCTIVE" if change.destructive else ""
    yield f"{sign} {label(change):<8} {change.key}{warning}{reason}"
    for field in change.fields:
        note = "  (cannot be changed in place)" if field.immutable else ""
        yield f"      {field.path}: {value(field.before, full)} → {value(field.after, full)}{note}"
    if change.cost and (not change.cost.known or change.cost.before != change.cost.after):
        yield f"      credits per hour: {rates(change.cost)}"
    if change.after:
        yield f"      after {', '.join(str(key) for key in change.after)}"
    for number, line in enumerate(change.forecast.lines if change.forecast else ()):
        yield f"      {'needs: ' if number == 0 else '       '}{line}"
    for effect in change.effects:
        yield f"      * {effect}"
    for statement in change.statements:
        yield from (f"      {line}" for line in folded(f"{statement};", full))


def folded(statement: str, full: bool = False) -> list[str]:
    """The lines of a statement; unless `full` without the long documents in it."""
    if full:
        return statement.splitlines()
    lines = _DOCUMENT.sub(_fold, statement).splitlines()
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[: _MOST_LINES - 1], f"  … {len(lines) - _MOST_LINES + 1} more lines (--full shows them)"]


def _fold(match: re.Match[str]) -> str:
    lines = match[1].count("\n")
    return match[0] if lines <= _SHORT_DOCUMENT else f"$$ … {lines} lines (--full shows them) … $$"


def value(given: object, full: bool = False) -> str:
    """A value in a list of differences."""
    text = str(given) if not isinstance(given, str) else repr(given)
    return text if full or len(text) <= _VALUE else text[: _VALUE - 1] + "…"


def rates(cost: Cost) -> str:
    """`0 → 0.22`, and `unknown` where no rate is published."""
    before, after = (f"{rate:g}" if rate is not None else "unknown" for rate in (cost.before, cost.after))
    return f"{before} → {after}"


def summary(plan: Plan) -> str:
    """`3 to create, 1 to update, 20 as they should be. Credits per hour: 0 → 0.22`."""
    counts = {action: sum(change.action is action for change in plan.changes) for action in Action}
    words = [f"{counts[action]} to {action.value}" for action in Action if counts[action] and action not in (Action.NONE, Action.BLOCKED)]
    held, waiting, stalled = (sum(change.block is block for change in plan.changes) for block in (Block.HELD, Block.WAITING, Block.STALLED))
    words += [f"{count} {text}" for count, text in ((waiting, "waiting"), (held, "left alone"), (stalled, "blocked")) if count]
    words += [f"{counts[Action.NONE]} as they should be"] if counts[Action.NONE] else []
    lost = f". DESTRUCTIVE: {len(plan.destructive)}" if plan.destructive else ""
    return f"{', '.join(words) or 'nothing here'}{lost}{_credits(plan)}"


def _credits(plan: Plan) -> str:
    if plan.cost is None:
        return ""
    unknown = ", ".join(str(key) for key in plan.unpriced)
    if not plan.cost.known:
        return f". Credits per hour: unknown ({unknown})"
    return f". Credits per hour: {rates(plan.cost)}" + (f", and an unknown rate of {unknown}" if unknown else "")


def _loss(change: Change) -> str:
    """What a destructive change does, in a sentence."""
    return f"{change.key} would be {'dropped and made again' if change.action is Action.REPLACE else 'dropped'}: {change.reason}"


# ---- as SQL ----------------------------------------------------------------------------------------------------------------------------


def sql_lines(plan: Plan) -> Iterator[str]:
    """A script that a person can read: every statement in order; what is no SQL stands in comments."""
    for change in shown(plan):
        yield from script(change)
        yield ""


def script(change: Change) -> Iterator[str]:
    """One change as SQL."""
    reason = " ".join(change.reason.split())
    yield f"-- {label(change)} {change.key}" + (f": {reason}" if reason else "")
    if change.destructive:
        yield "-- DESTRUCTIVE: what it holds is lost"
    yield from (f"-- {effect}" for effect in change.effects)
    yield from (f"{statement};" for statement in change.statements)


# ---- as a comment of a pull request ----------------------------------------------------------------------------------------------------


def markdown(plan: Plan) -> str:
    """A comment for a pull request: sum, what is destructive, a table, and the SQL folded; within GitHub's limit.

    The first line is a mark that nobody sees, by which a workflow finds its own comment again.
    """
    changes = [change for change in shown(plan) if change.block is not Block.HELD]
    kept = [change for change in shown(plan) if change.block is Block.HELD]
    head = [f"<!-- snowcat plan {plan.project} -->", f"### Snowcat: project `{plan.project}`, account `{plan.account or 'offline'}`", ""]
    head += [f"**{_text(summary(plan))}**", ""]
    if plan.destructive:
        head += [
            "> [!CAUTION]",
            *(f"> - **{label(change)}** {_code(change.key)}: {_text(change.reason)}" for change in plan.destructive),
            "",
        ]
    page = _Page(head)
    changes.sort(key=lambda change: not change.destructive)
    page.table(("", "object", "change", "credits per hour"), [_row(change) for change in changes], plan.cost)
    page.folded(f"Left alone ({len(kept)})", [f"- {_code(change.key)}: {_text(change.reason)}" for change in kept])
    page.folded(
        f"Later ({len(plan.later)})",
        [f"- {_code(key)} may follow {', '.join(_code(job) for job in jobs)}" for key, jobs in plan.later.items()],
    )
    forecast = [(change, change.forecast) for change in shown(plan) if change.forecast]
    page.folded(
        f"What the training needs ({len(forecast)})",
        [f"- {_code(change.key)}" + "".join(f"<br>{_text(line)}" for line in told.lines) for change, told in forecast],
    )
    page.sql([change for change in shown(plan) if change.statements or change.effects])
    return page.text


class _Page:
    """Lines of a comment, as many as fit."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = [redact(line) for line in lines]
        self._size = sum(len(line.encode()) + 1 for line in self._lines)

    @property
    def text(self) -> str:
        return "\n".join(self._lines).rstrip() + "\n"

    def _add(self, *lines: str, reserve: int = 0) -> bool:
        """Whether the lines fit, with so many bytes left for what must follow; they are added then."""
        hidden = [redact(line) for line in lines]
        size = sum(len(line.encode()) + 1 for line in hidden)
        if self._size + size + reserve > _ROOM:
            return False
        self._lines += hidden
        self._size += size
        return True

    def _note(self, text: str) -> None:
        self._lines += [text, ""]  # the room above is short of the limit by more than all notes together
        self._size += len(text) + 2

    def table(self, titles: tuple[str, ...], rows: list[str], cost: Cost | None) -> None:
        if not rows:
            return
        self._add(f"| {' | '.join(titles)} |", "|" + "---|" * len(titles))
        fitting = 0
        while fitting < len(rows) and self._add(rows[fitting]):
            fitting += 1
        if cost is not None:
            self._add(f"| | **sum** | | {rates(cost)} |")
        self._add("")
        if fitting < len(rows):
            self._note(f"_{len(rows) - fitting} more changes do not fit into a comment; `snowcat plan` shows all._")

    def folded(self, title: str, lines: list[str]) -> None:
        if not lines:
            return
        if not self._add(f"<details><summary>{title}</summary>", "", *lines, "", "</details>", ""):
            self._note(f"_{title}: too long for a comment; `snowcat plan` shows them._")

    def sql(self, changes: list[Change]) -> None:
        """The statements of as many changes as fit, in order."""
        if not changes:
            return
        scripts = ["\n".join(script(change)) for change in changes]
        fence = "`" * max(3, 1 + max((len(run) for text in scripts for run in re.findall(r"`+", text)), default=0))
        closing = f"{fence}\n</details>"
        if self._add("<details><summary>SQL</summary>", "", f"{fence}sql", reserve=len(closing)):
            left = [change for change, text in zip(changes, scripts, strict=True) if not self._add(text, "", reserve=len(closing))]
            self._lines += [closing, ""]
        else:
            left = changes
        if left:
            self._note(f"_The SQL of {len(left)} of {len(changes)} changes does not fit into a comment; `snowcat plan -o sql` shows all._")


def _row(change: Change) -> str:
    fields = "<br>".join(f"{_code(field.path)}: {_code(value(field.before))} → {_code(value(field.after))}" for field in change.fields)
    what = fields or _text(change.reason)
    name = f"⚠ **{label(change)}**" if change.destructive else label(change)
    cost = rates(change.cost) if change.cost else ""
    return f"| {name} | {_code(change.key)} | {what} | {cost} |"


def _code(given: object) -> str:
    """A code span that a table cell can hold; it shows a text as it is and mentions nobody."""
    text = " ".join(redact(str(given)).split()).replace("|", "\\|") or " "
    ticks = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _text(given: str) -> str:
    """Plain words in a table cell: no tags, no mentions, no line breaks."""
    text = " ".join(redact(given).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|*`\[\]])", r"\\\1", text).replace("@", "@<!-- -->")
