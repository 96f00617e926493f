"""What a fine-tune needs is told in the plan, and what cannot fit is refused before a node is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kinds_world import JOB, LAB, World, lab, only

from controller.account.snapshot import Show
from controller.api.objects import Graph
from controller.cli.plan_forms import change_lines, markdown
from controller.kinds.base import Forecast, Stalled, Waiting
from controller.kinds.base_model import folder_of
from controller.kinds.instance_families import SHOWN, families_shown, family_shown
from controller.kinds.registry import KINDS
from controller.reconcile.planning.change import Action, Block, Change, Plan
from controller.reconcile.planning.plan import plan

TUNE = KINDS["FineTuneJob"]
TUNE_STAGES = Show("STAGES", "SCHEMA DB.SCH")
LLAMA_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
TINY = {**LLAMA_7B, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
LOCAL = ("source: {huggingFace: {id: org/small, revision: abc}}", "source: {path: base}\n  via: local")
GPUS = ("  computePool: pool\n  image: trainer\n  model", "  computePool: gpus\n  image: trainer\n  model")


class Lab:
    """A fine-tune of a model that lies in a folder beside the manifests."""

    def __init__(self, folder: Path, config: dict[str, Any] | None, *changes: tuple[str, str], local: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self.world: World = lab(folder)
        (folder / "base").mkdir()
        if config is not None:
            (folder / "base" / "config.json").write_text(json.dumps(config))
        text = LAB + "---\n" + JOB.strip()
        for old, new in (LOCAL, *changes) if local else changes:
            assert old in text, old
            text = text.replace(old, new)
        self.graph: Graph = self.world.load(text)

    @property
    def job(self) -> Any:
        return only(self.graph, "FineTuneJob")

    def plan(self) -> Plan:
        return plan(self.world.view(self.graph), KINDS)

    def change(self) -> Change:
        return self.plan().objects[self.job.key].change

    def forecast(self) -> Forecast:
        told = TUNE.forecast(self.job, self.world.view(self.graph))
        assert told is not None
        return told


def test_a_plan_shows_what_a_job_needs(tmp_path: Path) -> None:
    made = Lab(tmp_path, LLAMA_7B, GPUS)
    change = made.change()
    text = "\n".join(change_lines(change))
    assert "needs: fits on GPU_NV_M (4 GPUs): lora of 6.74 billion parameters in bfloat16" in text
    assert "weights 12.6 GiB" in text and "modelled: " in text and "credits" in text
    document = change.as_dict()["forecast"]
    assert (document["verdict"], document["zero"], document["basis"]) == ("fits", 1, "modelled")
    assert document["memoryGib"]["weights"] == pytest.approx(12.55, abs=0.01)
    assert "What the training needs (1)" in markdown(made.plan())


def test_what_cannot_fit_is_refused_with_ways_that_would(tmp_path: Path) -> None:
    made = Lab(tmp_path, LLAMA_7B, GPUS, ("retry: {limit: 1}", "method: full\n  deepspeed: {offload: none}"))
    change = made.change()
    assert (change.block, change.block_reason, change.statements) == (Block.STALLED, "DoesNotFit", [])
    assert "does not fit on GPU_NV_M (4 GPUs): needs 3" in change.reason and "on each GPU, which has 22.1 GiB" in change.reason
    assert "(1) deepspeed.offload: auto" in change.reason and "(3) " in change.reason, "computed, and three of them"
    assert change.as_dict()["forecast"]["verdict"] == "does not fit"
    mended = Lab(tmp_path / "b", LLAMA_7B, GPUS, ("retry: {limit: 1}", "method: full\n  deepspeed: {offload: auto}"))
    assert mended.change().block is not Block.STALLED, "the first way out is one"


def test_what_lies_in_host_memory_is_shown_with_the_reason(tmp_path: Path) -> None:
    change = Lab(tmp_path, LLAMA_7B, GPUS, ("retry: {limit: 1}", "method: full")).change()
    document, text = change.as_dict()["forecast"], "\n".join(change_lines(change))
    assert (document["verdict"], document["zero"], document["offload"]) == ("fits", 3, "optimizer")
    assert document["hostGib"]["offloaded"] == pytest.approx(100.4, abs=0.1)
    assert "ZeRO 3 with the optimizer in host memory: stage 3 would need" in text and "% of the speed" in text


def test_nothing_can_be_moved_away_from_gpus_that_are_not_there(tmp_path: Path) -> None:
    change = Lab(tmp_path, TINY, ("retry: {limit: 1}", "deepspeed: {offload: optimizer}")).change()
    assert (change.block, change.block_reason) == (Block.STALLED, "DoesNotFit")
    assert "CPU_X64_M has none; leave it out" in change.reason


def test_where_memory_lies_is_no_reason_to_train_again(tmp_path: Path) -> None:
    runs = set()
    for number, deepspeed in enumerate(("zero: auto", "zero: auto, offload: auto", "zero: auto, offload: none")):
        made = Lab(tmp_path / str(number), LLAMA_7B, GPUS, ("retry: {limit: 1}", f"deepspeed: {{{deepspeed}}}"))
        runs.add(made.world.view(made.graph).fact(made.job.key).run)
    assert len(runs) == 1


def test_the_limit_of_the_container_counts(tmp_path: Path) -> None:
    made = Lab(tmp_path, LLAMA_7B, ("retry: {limit: 1}", "resources: {limits: {memory: 8Gi}}"))
    assert made.change().block_reason == "DoesNotFit"
    assert "of a node's memory, which has 7.5 GiB" in made.change().reason


@pytest.mark.parametrize(
    ("config", "words"),
    [(None, "config.json of the model can be read once"), ({"model_type": "mamba"}, "does not say what a model of the Llama family does")],
)
def test_a_model_that_is_not_known_is_no_reason_to_refuse(tmp_path: Path, config: dict[str, Any] | None, words: str) -> None:
    made = Lab(tmp_path, config)
    assert words in made.forecast().lines[0]
    assert made.forecast().document["verdict"] == "unknown"
    assert TUNE.create(made.job, made.world.view(made.graph)), "it is started"


def test_the_sizes_are_read_from_the_stage_once_the_model_is_there(tmp_path: Path) -> None:
    made = Lab(tmp_path, None, local=False)
    base = only(made.graph, "BaseModel")
    made.world.see(TUNE_STAGES, {"name": "MODELS", "created_on": "2026-01-01"})
    assert made.forecast().document["verdict"] == "unknown"
    made.world.stage_files[f"{folder_of(base)}/model.json"] = b"{}"
    made.world.stage_files[f"{folder_of(base)}/config.json"] = json.dumps(TINY).encode()
    assert made.forecast().document["verdict"] == "fits"
    made.world.reads.clear()
    assert made.forecast() and not [path for path in made.world.reads if path.endswith("config.json")], "remembered"


def test_nothing_starts_between_the_models_arrival_and_its_sizes(tmp_path: Path) -> None:
    made = Lab(tmp_path, None, local=False)
    base = only(made.graph, "BaseModel")
    made.world.see(TUNE_STAGES, {"name": "MODELS", "created_on": "2026-01-01"})
    early = made.world.view(made.graph)
    made.world.stage_files[f"{folder_of(base)}/model.json"] = b"{}"
    late = made.world.view(made.graph)
    mixed = type(early)(early.project, early.graph, early.snapshot, {**early.facts, base.key: late.facts[base.key]})
    with pytest.raises(Waiting, match=r"config\.json of BaseModel/small is read"):
        TUNE.create(made.job, mixed)


def test_families_are_those_of_the_account_where_it_tells_them(tmp_path: Path) -> None:
    made = Lab(tmp_path, LLAMA_7B, GPUS)
    told = {"name": "GPU_NV_M", "vcpu": 44, "memory_gib": 178, "gpu": "NVIDIA H100", "gpu_count": 2, "gpu_memory_gib": 80}
    made.world.see(SHOWN, told)
    view = made.world.view(made.graph)
    family = family_shown("gpu_nv_m", view.snapshot)
    assert family is not None and (family.gpus, family.gpu_memory_gib, family.credits) == (2, 80, 2.68)
    assert [found.name for found in families_shown(view.snapshot)] == ["GPU_NV_M"]
    assert "GPU_NV_M (2 GPUs)" in made.forecast().lines[0]


def test_hours_follow_the_rows(tmp_path: Path) -> None:
    made = Lab(tmp_path, TINY, ("training: {maxSteps: 4, learningRate: 0.001}", "training: {epochs: 2}"))
    two = made.forecast().document
    four = Lab(tmp_path / "b", TINY, ("training: {maxSteps: 4, learningRate: 0.001}", "training: {epochs: 4}")).forecast().document
    assert four["hours"] == pytest.approx(2 * two["hours"], rel=0.1) or two["hours"] < 0.01


def test_a_finished_run_needs_nothing(tmp_path: Path) -> None:
    made = Lab(tmp_path, LLAMA_7B, GPUS, ("retry: {limit: 1}", "method: full"))
    made.world.see(TUNE_STAGES, {"name": "MODELS", "created_on": "2026-01-01"})
    run = made.world.view(made.graph).fact(made.job.key).run
    made.world.stage_files[f"wishes/{run}/run.json"] = b"{}"
    view = made.world.view(made.graph)
    assert TUNE.forecast(made.job, view) is None
    assert made.change().action is Action.NONE


def test_refusal_is_raised_by_the_kind(tmp_path: Path) -> None:
    made = Lab(tmp_path, LLAMA_7B, GPUS, ("retry: {limit: 1}", "method: full\n  deepspeed: {offload: none}"))
    with pytest.raises(Stalled) as error:
        TUNE.create(made.job, made.world.view(made.graph))
    assert error.value.reason == "DoesNotFit"
