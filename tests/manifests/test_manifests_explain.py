"""Whatever a model can object to is told in our words, at the field's own line: all fields of all kinds, and the runs of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest

from controller.api.project import ProjectSettings
from controller.api.registry import KINDS
from controller.manifests.explain import CHOICES, EXPECTED, LIMITS, OTHERS, alternatives, findings
from controller.manifests.nodes import node_of
from controller.manifests.project import load_project

TOLD = {*EXPECTED, *LIMITS, *CHOICES, *OTHERS}
BAD: list[Any] = [None, -(10**9), 10**9, 1.5, float("nan"), "9" * 5000, "", "a\0 ü", [], ["x"] * 400, {}, {"": 1}]
PYDANTIC = ("Input should", "Extra inputs", "Field required", "should have", "should match", "Value error", "validation error", "_type")


def models() -> list[type[pydantic.BaseModel]]:
    """All models that a manifest or the project file can have in it."""
    found: dict[type[pydantic.BaseModel], None] = {}

    def within(annotation: object) -> Iterator[Any]:
        for part in alternatives(annotation):
            yield part
            for inner in get_args(part):
                yield from within(inner)

    def visit(model: type[pydantic.BaseModel]) -> None:
        if model not in found:
            found[model] = None
            for part in (part for info in model.model_fields.values() for part in within(info.annotation)):
                if isinstance(part, type) and issubclass(part, pydantic.BaseModel):
                    visit(part)

    roots: list[type[pydantic.BaseModel]] = [*KINDS.values(), ProjectSettings]
    for root in roots:
        visit(root)
    return list(found)


def test_every_error_that_a_field_can_raise_has_words_of_ours() -> None:
    types, fields = set(), 0
    for model in models():
        for name, info in model.model_fields.items():
            fields += 1
            for bad in BAD:
                document = {info.alias or name: bad}
                try:
                    model.model_validate(document, by_alias=True, by_name=False)
                except pydantic.ValidationError as error:
                    types |= {detail["type"] for detail in error.errors()}
                    for found in findings(error, model, node_of(document, 1)):
                        assert found.message and not any(word in f"{found.message} {found.hint}" for word in PYDANTIC), str(found)
    assert types <= TOLD, "an error type without words"
    assert {"missing", "extra_forbidden", "too_short", "too_long", "int_parsing_size", "finite_number", "greater_than"} <= types
    assert fields > 400


@pytest.mark.parametrize(
    ("field", "bad", "says"),
    [
        (pydantic.Field(gt=0), 0, "must be more than 0, got 0"),
        (pydantic.Field(ge=0.5), 0.0, "must be at least 0.5, got 0.0"),
        (pydantic.Field(lt=1.0), 1, "must be less than 1, got 1"),
        (pydantic.Field(le=1_000_000), 1_000_001, "must be at most 1000000, got 1000001"),
        (pydantic.Field(min_length=1), [], "needs at least 1 entry, has 0"),
        (pydantic.Field(min_length=1), {}, "needs at least 1 entry, has 0"),
        (pydantic.Field(max_length=2), [1, 2, 3], "takes at most 2 entries, has 3"),
        (pydantic.Field(min_length=2), "x", "needs at least 2 characters, got 'x'"),
        (pydantic.Field(max_length=2), "xyz", "takes at most 2 characters, got 'xyz'"),
        (pydantic.Field(pattern="^a"), "x", "'x' does not look right"),
    ],
)
def test_a_limit_says_what_it_is_and_what_stands_there(field: Any, bad: Any, says: str) -> None:
    model = pydantic.create_model("Limited", value=(type(bad), field))
    with pytest.raises(pydantic.ValidationError) as caught:
        model.model_validate({"value": bad})
    (found,) = findings(caught.value, model, node_of({"value": bad}, 1))
    assert (found.message, found.field) == (says, "value")


def test_a_missing_field_is_not_told_where_a_misspelt_one_says_so_and_is_beside_any_other() -> None:
    model = pydantic.create_model("Pair", __config__=pydantic.ConfigDict(extra="forbid"), size=(int, ...), comment=(str, ...))

    def told(**document: Any) -> list[str]:
        with pytest.raises(pydantic.ValidationError) as caught:
            model.model_validate(document)
        return sorted(found.field for found in findings(caught.value, model, node_of(document, 1)))

    assert told(size=1, coment="x") == ["coment"]
    assert told(size=1, zzzzzz="x") == ["comment", "zzzzzz"]


# ---- sweeps ----------------------------------------------------------------------------------------------------------------------------

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: test\nrole: worker\nexisting: [Schema/db.s]\n"


def sweep(folder: Path, *lines: str) -> list[tuple[int, str, str]]:
    """Line, field below spec.sweep and words of each error of a job with this sweep; the sweep's first line is the eleventh."""
    job = (
        "apiVersion: snowcat/v1\nkind: FineTuneJob\nmetadata: {name: tune, schema: db.s}\n"
        "spec:\n  computePool: p\n  image: /a/b/c/d:1\n  model: m\n  dataset: d\n  output: {stage: s}\n  sweep:\n"
    )
    (folder / "snowcat.yaml").write_text(PROJECT)
    (folder / "job.yaml").write_text(job + "".join(f"    {line}\n" for line in lines))
    return [(p.location.line, p.field.removeprefix("spec.sweep."), f"{p.message}; {p.hint}") for p in load_project(folder).errors]


SWEEPS = [
    (
        "a misspelt field",
        ["grid:", "  training.seed: [1]", "  training.learningRte: [1, 2]"],
        [(13, "grid.training.learningRte", "unknown field 'learningRte'; did you mean learningRate?")],
    ),
    (
        "a value that its field does not take",
        ["grid:", "  training.learningRate:", "    - 0.1", "    - fast"],
        [(14, "grid.training.learningRate[1]", "expected a number, got 'fast'")],
    ),
    (
        "several such values",
        ["grid:", "  training.learningRate: [a, 0.1, b]", "  method.lora.rank: [4, 0]"],
        [
            (12, "grid.training.learningRate[0]", "expected a number, got 'a'"),
            (12, "grid.training.learningRate[2]", "expected a number, got 'b'"),
            (13, "grid.method.lora.rank[1]", "must be more than 0, got 0; Width of the adapters"),
        ],
    ),
    (
        "a field of two shapes",
        ["list: [{training.maxLength: [2]}]"],
        [(11, "list[0].training.maxLength", "expected auto or a whole number")],
    ),
    (
        "a misspelt part",
        ["grid: {trainig.seed: [1]}"],
        [(11, "grid.trainig.seed", "trainig.seed cannot differ between runs; what can: training.…, method.…, deepspeed.…, data.maxRows")],
    ),
    (
        "what cannot differ",
        ["list:", "  - {training.seed: 1}", "  - {prompt.loss: all}"],
        [(13, "list[1].prompt.loss", "prompt.loss cannot differ between runs")],
    ),
    ("a field within a number", ["grid: {training.seed.x: [1]}"], [(11, "grid.training.seed.x[0]", "seed has no fields")]),
    (
        "fields that do not go together",
        ["list:", "  - {}", "  - {training.epochs: 1, training.maxSteps: 2}"],
        [(13, "list[1]", "with epochs 1, maxSteps 2: training takes epochs or maxSteps, not both")],
    ),
    (
        "a score that is not computed",
        ["grid: {training.seed: [1, 2]}", "metric: los"],
        [(12, "metric", "'los' is none of loss, valid_json, exact_match, field_f1; did you mean loss?")],
    ),
    ("no values at all", ["grid: {}"], [(11, "grid", "needs at least 1 entry, has 0; Path of a field")]),
]


@pytest.mark.parametrize(("reason", "lines", "wanted"), SWEEPS, ids=[reason for reason, _, _ in SWEEPS])
def test_what_is_wrong_with_a_sweep_is_told_where_it_stands(
    reason: str, lines: list[str], wanted: list[tuple[int, str, str]], tmp_path: Path
) -> None:
    found = sweep(tmp_path, *lines)
    assert [(line, field) for line, field, _ in found] == [(line, field) for line, field, _ in wanted], found
    assert all(says in words for (_, _, words), (_, _, says) in zip(found, wanted, strict=True)), found
