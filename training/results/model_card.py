"""README.md of a run: what somebody must know who finds the model, and nothing that the run does not know itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

from training.config import LOWER_IS_BETTER, TrainingConfig
from training.history import History
from training.results.outcome import Outcome


def model_card(config: TrainingConfig, outcome: Outcome, history: History, versions: Mapping[str, str]) -> str:
    """The whole text, in Markdown."""
    table = "\n".join(f"| {_better(name)} | {_score(outcome.base.get(name))} | {_score(value)} |" for name, value in outcome.tuned.items())
    dropped = f" ({outcome.long_rows})" if outcome.long_rows else ""
    files = "`merged/` is the whole model, ready to serve" if config.output.merged else "No merged model was asked for"
    if config.output.adapter and not config.method.full:
        files += "; `adapter/` is the adapter by itself"
    return f"""# {config.run.job}, run {config.run.id}

Fine-tuned by Snowcat on {config.data.table or "the rows of a query or file"}.

| score on {outcome.eval_rows} held-out rows | base | tuned |
|---|---|---|
{table}

One run with seed {config.training.seed}: another seed moves these scores by several points. Held-out rows are rows
that training did not see; names in them may well have been seen.

- Base model: `{outcome.base_id or config.base.name}`, sha256 `{outcome.base_sha256 or "not recorded"}`
- Data: {outcome.used_rows} rows trained on{dropped}; splits {json.dumps(outcome.splits)}; fingerprint of the rows used
  `{outcome.fingerprint}`
- Method: {_method(config)}; {outcome.trained_parameters:,} of {outcome.parameters:,} parameters
- Prompt: template `{config.prompt.template[:60]}`, loss on {config.prompt.loss}
- {_steps(config, outcome, history)}
- Engine: DeepSpeed ZeRO {outcome.zero}, {outcome.world} rank(s) on {outcome.device}, {outcome.dtype}
- Time: {_time(outcome, history)}
- Versions: {", ".join(f"{name} {version}" for name, version in versions.items())}

![loss](loss.svg)

{files}; `predictions.jsonl` holds every answer, `metrics.json` every step.

<details><summary>Configuration</summary>

```json
{json.dumps({name: part for name, part in config.document().items() if name != "run"}, indent=2, ensure_ascii=False)}
```
</details>
"""


def _better(name: str) -> str:
    return f"{name} (lower is better)" if name in LOWER_IS_BETTER else name


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _method(config: TrainingConfig) -> str:
    given = {name: part for name, part in config.method.document().items() if part}
    return ", ".join("all weights" if name == "full" else f"{name} {json.dumps(part)}" for name, part in given.items())


def _steps(config: TrainingConfig, outcome: Outcome, history: History) -> str:
    losses = [record.loss for record in history.steps]
    text = f"Steps: {len(losses)}, loss {losses[0]:.3f} → {losses[-1]:.3f}; learning rate {config.training.learning_rate:g}, "
    text += config.training.schedule
    if outcome.best_step is not None:
        text += f"; the weights are those after step {outcome.best_step}, the best on held-out rows"
    return text


def _time(outcome: Outcome, history: History) -> str:
    total = sum(outcome.phase_seconds.values())
    phases = ", ".join(f"{name} {seconds:g} s" for name, seconds in outcome.phase_seconds.items())
    text = f"{total / 3600:.2f} hours ({phases}); {history.speed():,.0f} tokens/s in training"
    if outcome.mfu is not None:
        text += f", MFU {outcome.mfu:.0%}"
    return f"{text}; {outcome.peak_memory / 2**30:.1f} GiB at most on rank 0"
