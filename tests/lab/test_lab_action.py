"""The GitHub workflow in docs/: it parses, its actions are pinned, and its commands are ones that snowcat has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from controller.cli.app import app
from controller.cli.plan_forms import markdown
from controller.reconcile.planning.change import Plan

DOCS = Path(__file__).parents[2] / "docs"
WORKFLOW: dict[Any, Any] = yaml.safe_load((DOCS / "snowcat-plan.yaml").read_text())
STEPS = [(job, step) for job, body in WORKFLOW["jobs"].items() for step in body["steps"]]
COMMANDS = [line.strip() for _, step in STEPS for line in step.get("run", "").splitlines() if line.strip().startswith("snowcat ")]
TEXTS = [line.strip() for page in ("plan", "export", "github-action") for line in (DOCS / f"{page}.md").read_text().splitlines()]
COMMANDS += [line.partition("#")[0] for line in TEXTS if line.startswith("snowcat ")]


def test_what_runs_when() -> None:
    on = WORKFLOW[True]  # YAML reads the bare word `on` as a boolean
    assert set(on) == {"pull_request", "push"} and set(WORKFLOW["jobs"]) == {"plan", "apply"}
    assert "pull_request" in WORKFLOW["jobs"]["plan"]["if"] and "push" in WORKFLOW["jobs"]["apply"]["if"]
    assert any("apply" in line and "--plan plan.json" in line for line in COMMANDS)


@pytest.mark.parametrize("uses", sorted({step["uses"] for _, step in STEPS if "uses" in step}))
def test_actions_are_pinned_by_commit(uses: str) -> None:
    assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", uses)


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_each_command_is_one_of_ours(line: str) -> None:
    words = shlex.split(line.partition(">")[0])
    command = typer.main.get_command(app).commands[words[1]]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words[2:] if word.startswith("-")} <= known
    rest = [str(DOCS) if word in ("$PROJECT", ".") else word for word in words[2:]]
    assert command.make_context(words[1], rest).params


def test_secrets_go_by_environment_to_the_steps_that_need_them() -> None:
    for job, step in STEPS:
        assert "secrets." not in step.get("run", ""), job
    assert "secrets." not in str(WORKFLOW["env"])
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_the_comment_is_found_again() -> None:
    """The workflow looks for a comment that starts as this one does."""
    assert markdown(Plan("lab", "acme", {})).startswith("<!-- snowcat plan lab -->\n")
    (step,) = [step for _, step in STEPS if "PATCH" in step.get("run", "")]
    assert "cancelled()" in step["if"] and "comment.md" in step["if"], "what is blocked fails the plan, and must be read in the comment"
    assert "head -n 1 comment.md" in step["run"] and "startswith(env.mark)" in step["run"]
