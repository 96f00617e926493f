"""`probe: true`: measured before anything is trained, once for all jobs of the same model, and planned with from then on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kinds_world import JOB, LAB, World, lab, only

from controller.account.snapshot import Row, Show
from controller.api.objects import Graph
from controller.kinds.base import Health, Observation, Stalled
from controller.kinds.registry import KINDS
from controller.kinds.service_health import containers_of, services_in
from training.config import TrainingConfig
from training.planner import Calibration, Point

TUNE = KINDS["FineTuneJob"]
STAGES = Show("STAGES", "SCHEMA DB.SCH")
LLAMA = {
    "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True,
}  # fmt: skip
MEASURED = Calibration("CPU", "lora", 2e9, 1e6, 123.0, 1e9, 1.5, 0.5, (Point(128, 2.1e9, 1.0), Point(512, 2.5e9, 4.0)))


class Probed:
    """A job that asks for a probe, and its jobs in SHOW SERVICES."""

    def __init__(self, folder: Path, more: str = "probe: true") -> None:
        self.world: World = lab(folder)
        (folder / "base").mkdir()
        (folder / "base" / "config.json").write_text(json.dumps(LLAMA))
        self.graph = self.load(more)
        self.world.see(STAGES, {"name": "MODELS", "created_on": "2026-01-01"})
        self.rows: list[Row] = []

    def load(self, more: str) -> Graph:
        text = LAB.replace("source: {huggingFace: {id: org/small, revision: abc}}", "source: {path: base}\n  via: local")
        self.graph = self.world.load(text + "---\n" + JOB.strip().replace("retry: {limit: 1}", f"retry: {{limit: 0}}\n  {more}"))
        return self.graph

    @property
    def job(self) -> Any:
        return only(self.graph, "FineTuneJob")

    @property
    def view(self) -> Any:
        return self.world.view(self.graph)

    def look(self) -> Observation:
        return TUNE.observe(self.job, self.view)

    def statement(self) -> str:
        (step,) = TUNE.create(self.job, self.view)
        return str(step)

    def submit(self, status: str, code: int | None = None) -> None:
        """What would be started now is in the account, with this status."""
        text = self.statement()
        name, comment = re.search(r"NAME = DB\.SCH\.(\w+)", text), re.search(r"COMMENT = '([^']*)'", text)
        assert name is not None and comment is not None
        full = self.job.key.name.parent.child(self.job.key.name.name.__class__(name[1]))
        self.world.see(containers_of(full), {"container_name": "main", "status": status, "last_exit_code": code})
        row = {"name": name[1], "schema_name": "SCH", "status": status, "comment": comment[1], "created_on": len(self.rows), "owner": "W"}
        self.rows = [*[row for row in self.rows if row["name"] != name[1]], row]
        self.world.see(services_in(self.job.key.name), *self.rows)

    def measured(self) -> None:
        probe = self.view.fact(self.job.key).measuring.probe
        self.world.stage_files[f"probes/{probe.identity}.json"] = json.dumps(MEASURED.document()).encode()


def test_a_probe_comes_first_then_the_run(tmp_path: Path) -> None:
    made = Probed(tmp_path)
    text = made.statement()
    assert "_PROBE_" in text and "container.probe" in text and "probe=yes" in text and "SNOWCAT_PROBE" in text
    assert (made.look().exists, made.look().health) == (False, Health.MISSING)
    made.submit("RUNNING")
    assert made.look().health is Health.PROGRESSING and not made.look().drift
    assert list(TUNE.create(made.job, made.view)) == [], "nothing is trained meanwhile"
    made.measured()
    text = made.statement()
    assert "_PROBE_" not in text and "container.probe" not in text
    assert "SNOWCAT_CALIBRATION" in text and MEASURED.device in text, "the job's own planner rests on it too"
    seen = made.look()
    assert seen.exists and [change.path for change in seen.drift] == ["run"], "what goes on is no first start: a saved plan lets it pass"


def test_the_plan_rests_on_what_was_measured(tmp_path: Path) -> None:
    made = Probed(tmp_path)
    before = TUNE.forecast(made.job, made.view)
    made.submit("RUNNING")
    made.measured()
    after = TUNE.forecast(made.job, made.view)
    assert before is not None and after is not None
    assert (before.document["basis"], after.document["basis"]) == ("modelled", "measured")
    gained = after.document["memoryGib"]["context"] - before.document["memoryGib"]["context"]
    assert gained == pytest.approx(1e9 / 2**30, abs=0.01)


def test_what_was_measured_is_no_part_of_a_run(tmp_path: Path) -> None:
    made = Probed(tmp_path)
    before = made.view.fact(made.job.key).run
    made.submit("RUNNING")
    made.measured()
    assert "SNOWCAT_CALIBRATION" in made.statement() and made.view.fact(made.job.key).run == before


def test_other_jobs_of_the_model_use_it_without_asking(tmp_path: Path) -> None:
    made = Probed(tmp_path)
    made.submit("RUNNING")
    made.measured()
    assert made.view.fact(made.job.key).known.calibration is not None
    made.load("env: {}")
    told = TUNE.forecast(made.job, made.view)
    assert told is not None and told.document["basis"] == "measured"


def test_the_runs_of_a_sweep_share_one(tmp_path: Path) -> None:
    made = Probed(tmp_path, "probe: true\n  sweep: {grid: {training.learningRate: [0.001, 0.002], method.lora.rank: [4, 8]}}")
    assert len({run.probe.identity for run in made.view.fact(made.job.key).runs}) == 1
    made.submit("RUNNING")
    assert made.look().health is Health.PROGRESSING and list(TUNE.create(made.job, made.view)) == []
    made.measured()
    assert "_PROBE_" not in made.statement()
    assert made.look().exists and [change.path for change in made.look().drift] == ["runs"]


def test_a_probe_that_fails_says_how_to_go_on(tmp_path: Path) -> None:
    made = Probed(tmp_path)
    made.submit("FAILED", code=11)
    with pytest.raises(Stalled, match="or take `probe: true` out") as error:
        TUNE.update(made.job, made.look(), made.view)
    assert error.value.reason == "DoesNotFit"


def test_its_configuration_is_the_trainers_own(tmp_path: Path) -> None:
    text = Probed(tmp_path, "probe: true\n  replicas: 2").statement()
    spec = yaml.safe_load(text.split("$$")[1])["spec"]
    config = TrainingConfig.model_validate_json(spec["containers"][0]["env"]["SNOWCAT_CONFIG"])
    assert config.output.path == "/snowcat/stage/probes"
    assert "REPLICAS" not in text, "one node is enough"
