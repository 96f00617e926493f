"""The loop reads a step's result while the next one runs, and no decision may depend on how late it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from training_packs import pack

from training.config import TrainingConfig
from training.data.batches import plan_batches
from training.errors import BadInputError, StoppedError
from training.history import History, StepRecord
from training.loop import Loop, StopFlag
from training.model import attention
from training.model.loading import load_model
from training.watch import Watch

STEPS = 6


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Engine:
    """What the loop asks of DeepSpeed; counts its steps."""

    def __init__(self, model: Any) -> None:
        self.module = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        self.done = self.spoilt_by = self.skips = self.skipped_steps = 0

    def __call__(self, **batch: Any) -> Any:
        return self.module(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def step(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done += 1
        self.skipped_steps += self.done == self.skips
        if self.done == self.spoilt_by:
            with torch.no_grad():
                next(self.module.parameters()).fill_(float("nan"))

    def get_global_grad_norm(self) -> torch.Tensor:
        return torch.tensor(1.5)


class Saves:
    """Instead of checkpoints: (steps in the history, steps in the weights) at each save."""

    def __init__(self) -> None:
        self.saved: list[tuple[int, int]] = []

    def save(self, engine: Engine, history: History) -> None:
        self.saved.append((history.next_step, engine.done))

    def wait(self) -> str:
        return ""


def loop(base: Path, late: int, *, tell: Callable[[Loop, StepRecord], None] = lambda loop, record: None, **parts: Any) -> Loop:
    document: dict[str, Any] = {"run": {"id": "r", "job": "j"}, "base": {"path": "/b"}, "data": {"table": "T"}, "output": {"path": "/o"}}
    document |= {"training": {"maxSteps": STEPS, "microBatchTokens": 300, "tokensPerStep": 300, "dtype": "float32"}, **parts}
    config = TrainingConfig.model_validate(document)
    data = pack(vocabulary=250)
    plan = plan_batches(data.lengths, config.training, 1, on_gpu=False)
    torch.manual_seed(2)
    engine = Engine(load_model(base, torch.float32, attention=attention.choose("auto", torch.float32)).train())
    watch = Watch(config.evaluation, plan.steps, config.keeps_best, lambda: {"loss": float(engine.done)}, lambda record: None)
    saves: Any = Saves()
    made = Loop(engine, plan, data, config, saves, 2, StopFlag(), lambda record: tell(made, record), watch)
    made.late = late
    return made


@pytest.mark.usefixtures("alone")
def test_losses_are_those_of_a_loop_that_waits(tiny_base: Path) -> None:
    curves = []
    for late in (0, 1):
        history = History()
        loop(tiny_base, late).run(history)
        curves.append([(record.step, record.loss, record.tokens, record.learning_rate) for record in history.steps])
    assert curves[0] == curves[1]
    assert [step for step, *_ in curves[0]] == list(range(STEPS))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("late", [0, 1])
def test_what_is_saved_is_what_the_history_tells(tiny_base: Path, late: int) -> None:
    made = loop(tiny_base, late, checkpoint={"everySteps": 2})
    made.run(History())
    assert made.checkpoints.saved == [(2, 2), (4, 4), (6, 6)]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("late", [0, 1])
def test_held_out_rows_are_scored_after_just_these_steps(tiny_base: Path, late: int) -> None:
    history = History()
    loop(tiny_base, late, evaluation={"everySteps": 4}).run(history)
    assert [(record.steps, record.scores["loss"]) for record in history.evals] == [(4, 4.0), (6, 6.0)]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("late", "seen"), [(0, 3), (1, 5)])
def test_a_stop_saves_what_is_done(tiny_base: Path, late: int, seen: int) -> None:
    def stop(made: Loop, record: StepRecord) -> None:
        made.stop.is_set = made.stop.is_set or record.step == 1

    made, history = loop(tiny_base, late, tell=stop), History()
    with pytest.raises(StoppedError, match="the state is saved"):
        made.run(history)
    assert history.next_step == seen, "the step after the signal; read late, the signal is seen a step later, and one more runs"
    assert made.checkpoints.saved == [(seen, seen)]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("late", [0, 1])
def test_nothing_is_saved_after_a_loss_that_is_no_number(tiny_base: Path, late: int) -> None:
    made = loop(tiny_base, late, checkpoint={"everySteps": 2})
    made.engine.spoilt_by = 3
    with pytest.raises(BadInputError, match=r"the loss is nan at step 4 of 6 \(rows row"):
        made.run(History())
    assert made.checkpoints.saved == [(2, 2)]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("late", [0, 1])
def test_a_step_that_deepspeed_leaves_out_ends_the_training(tiny_base: Path, late: int) -> None:
    made = loop(tiny_base, late)
    made.engine.skips = 3
    with pytest.raises(BadInputError, match=r"the gradient is no number at step 3 of 6 \(rows row"):
        made.run(History())
    assert made.checkpoints.saved == []  # type: ignore[attr-defined]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("late", [0, 1])
def test_a_save_is_no_part_of_the_time_of_a_step(tiny_base: Path, late: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def lasting(seconds: float, work: Callable[..., None]) -> Callable[..., None]:
        def do(*given: Any) -> None:
            nonlocal now
            now += seconds
            work(*given)

        return do

    monkeypatch.setattr("training.loop.time", SimpleNamespace(monotonic=lambda: now))
    made, history = loop(tiny_base, late, checkpoint={"everyMinutes": 1 / 60}), History()
    made.engine.step = lasting(1.0, made.engine.step)
    monkeypatch.setattr(made.checkpoints, "save", lasting(100.0, made.checkpoints.save))
    made.run(history)
    assert len(made.checkpoints.saved) > 2, "as often as it is due"  # type: ignore[attr-defined]
    assert sum(record.seconds for record in history.steps) == STEPS
