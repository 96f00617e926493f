"""Snowcat's training against what else there is, on this machine: `make bench-training`.

On a GPU: Llama-2-7B, LoRA of rank 16 on all projections, 8,192 tokens a step. On a CPU a small model, where only the ratios mean something.
Three parts: checks and ceilings, the contest, what DeepSpeed costs. Every contestant is a process of its own, offline; what cannot run here
is named with the reason. Writes `benchmarks/results/training-<device>.json` and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # where a GPU is lent, nothing is installed

import torch  # noqa: E402
from fine_tuning_turns import PAIRS, turns  # noqa: E402
from fine_tuning_turns import figures as figures_of_turns  # noqa: E402
from fine_tuning_workload import Workload  # noqa: E402

from training.planner import Shape, flops_per_token, known_chip  # noqa: E402

TRL = "1.16.0"
OTHERS = ROOT / ".cache" / "trl"  # TRL's environment: what it adds to this one, which it sees through a .pth file
PARTS = ("checks", "contest", "deepspeed")
CONTEST_GPU = (
    "hf",
    "hf-keep",
    "lab",
    "trl",
    "trl-keep",
    "trl-our-attention",
    "ours-checkpoint",
    "ours",
    "ours-plain-adapters",
    "ours-compiled",
)
CONTEST_CPU = ("hf", "lab", "trl", "trl-our-attention", "ours", "ours-plain-adapters", "ours-single")
ON_GPU = torch.cuda.is_available()


def main() -> None:
    """Run the parts that are asked for."""
    options = _options()
    workload = Workload.standard(options.size, options.lengths)
    workload = replace(workload, **{name: value for name in ("steps", "warmup", "tokens") if (value := getattr(options, name)) is not None})
    target = options.results or Path(__file__).parent / "results" / f"training-{_slug(device_name())}.json"
    results: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    now = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "load": os.getloadavg()[0], "workload": workload.document()}
    results |= {"version": 1, "device": device_name(), "versions": versions(), **now}
    # the parts may be run one by one: each has its own date
    results["taken"] = results.get("taken", {}) | dict.fromkeys(options.parts, now)
    if "checks" in options.parts:
        results["checks"] = _process(sys.executable, "fine_tuning_checks.py", workload, timeout=options.timeout)
        _write(target, results)
    if "contest" in options.parts:
        names = options.only or (CONTEST_GPU if ON_GPU else CONTEST_CPU)
        if any(name.startswith("trl") for name in names):
            install_trl()
        for found in compete(names, workload, options):
            results["contest"] = results.get("contest", {}) | found
            results["ratios"] = ratios(results["contest"])
            _write(target, results)
    if "deepspeed" in options.parts:
        results.pop("deepspeedCost", None)  # of an earlier version: figures of runs one after the other
        for name in options.only or PAIRS:
            results["deepspeed"] = results.get("deepspeed", {}) | {name: beside_the_loop(name, workload, options.pairs)}
            print(f"  {name}: {_cost(results['deepspeed'][name])}", file=sys.stderr)
            _write(target, results)
    print(table(results))
    print(f"\nwritten to {target}")


def compete(names: Any, workload: Workload, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every contestant in turn, as often as asked: turns, so that whatever else the machine does falls on all of them.

    Yields the figures after every process.
    """
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name in names:
            if any("skipped" in run for run in runs[name]):
                continue
            python = str(OTHERS / "bin" / "python") if name.startswith("trl") and (OTHERS / "bin").exists() else sys.executable
            runs[name].append(_process(python, "fine_tuning_contestant.py", workload, name, timeout=options.timeout))
            print(f"  {name}: {_short(runs[name][-1])}", file=sys.stderr)
            yield {name: figures(workload, done) for name, done in runs.items() if done}


def figures(workload: Workload, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all repeats of a contestant: speed over the timed steps, spread of the steps, memory, share of the peak."""
    done = [run for run in runs if "skipped" not in run]
    if not done:
        return runs[0]
    first, parts = workload.warmup, ("seconds", "tokens", "trained")
    timed = [{part: run[part][first : first + workload.steps] for part in parts} for run in done]
    speeds = [sum(run["tokens"]) / sum(run["seconds"]) for run in timed]
    steps = sorted(1000 * second for run in timed for second in run["seconds"])
    speed = statistics.median(speeds)
    found: dict[str, Any] = {
        "tokensPerSecond": round(speed, 1),
        "repeats": [round(one, 1) for one in speeds],
        "trainedTokensPerSecond": round(statistics.median(sum(run["trained"]) / sum(run["seconds"]) for run in timed), 1),
        "stepMilliseconds": {
            name: round(steps[int(share * (len(steps) - 1))], 1) for name, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
        },
        "firstStepSeconds": round(max(run["seconds"][0] for run in done), 1),
        "memoryBytes": max(run["memoryBytes"] for run in done),
        "losses": done[0]["losses"],
        "settings": done[0]["settings"],
    }
    chip = known_chip(device_name())
    if chip is not None:
        mean = statistics.mean(len(row.ids) for row in workload.rows())
        found["mfu"] = round(speed * flops_per_token(Shape.of(workload.config().to_dict()), False, mean) / chip.peak, 4)
    return found


def ratios(contest: dict[str, Any]) -> dict[str, float]:
    """Speed and memory of our fastest against each of the others."""
    done = {name: found for name, found in contest.items() if "skipped" not in found}
    ours = [name for name in done if name.startswith("ours")]
    if not ours:
        return {}
    best = max(ours, key=lambda name: float(done[name]["tokensPerSecond"]))
    found = {}
    for name in done:
        if name != best:
            found[f"{best} / {name}"] = round(done[best]["tokensPerSecond"] / done[name]["tokensPerSecond"], 3)
            found[f"memory of {best} / {name}"] = round(done[best]["memoryBytes"] / done[name]["memoryBytes"], 3)
    return found


def beside_the_loop(name: str, workload: Workload, pairs: int) -> dict[str, Any]:
    """What a stage of DeepSpeed costs, or why it could not be run."""
    try:
        found, ready = turns(name, replace(workload, steps=pairs), _environment())
    except EOFError as error:
        return {"skipped": str(error)}
    return figures_of_turns(name, found, ready)


def _cost(found: dict[str, Any]) -> str:
    if "skipped" in found:
        return f"skipped: {found['skipped']}"
    middle, (low, high), (first, last) = (found[name] for name in ("cost", "interval", "quartiles"))
    return (
        f"{100 * middle:+.1f} % of a step ({found['verdict']}; 95 %: {100 * low:+.1f} to {100 * high:+.1f}; half of {found['pairs']} "
        f"pairs: {100 * first:+.1f} to {100 * last:+.1f}; against {found['against']}: {found['stepMilliseconds'][0]:.0f} ms)"
    )


def table(results: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{results['device']}, {results['workload']['size']}, {results['workload']['lengths']} documents, {results['date']}", ""]
    lines += [f"{'':22}{'tokens/s':>10}{'trained/s':>11}{'step ms p10/p50/p90':>26}{'memory GiB':>12}{'MFU':>8}"]
    for name, found in results.get("contest", {}).items():
        if "skipped" in found:
            lines.append(f"{name:22}  skipped: {found['skipped'][:110]}")
            continue
        steps = "/".join(f"{found['stepMilliseconds'][part]:.0f}" for part in ("p10", "p50", "p90"))
        share = f"{100 * found['mfu']:.1f}%" if "mfu" in found else "–"
        memory = found["memoryBytes"] / 2**30
        lines.append(
            f"{name:22}{found['tokensPerSecond']:>10.0f}{found['trainedTokensPerSecond']:>11.0f}{steps:>26}{memory:>12.2f}{share:>8}"
        )
    lines += [""] + [f"{name}: {ratio:g}" for name, ratio in results.get("ratios", {}).items()]
    lines += [f"DeepSpeed, {name}: {_cost(found)}" for name, found in results.get("deepspeed", {}).items()]
    for name, check in results.get("checks", {}).items():
        lines.append(f"check {name}: {json.dumps(check)}")
    return "\n".join(lines)


def install_trl() -> None:
    """TRL at its pinned version into an environment of its own, which borrows torch and transformers from this one."""
    python = OTHERS / "bin" / "python"
    if not python.exists():
        venv.create(OTHERS, with_pip=True)
        here = next(path for path in sys.path if path.endswith("site-packages"))
        next(OTHERS.glob("lib/python*/site-packages")).joinpath("snowcat.pth").write_text(here + "\n")
    if subprocess.run([python, "-c", "import trl"], capture_output=True).returncode:
        # without a network this fails, and the contest says that TRL was skipped
        subprocess.run([python, "-m", "pip", "install", "-q", f"trl=={TRL}"], check=False)


def _process(python: str, script: str, workload: Workload, *words: str, timeout: float) -> dict[str, Any]:
    command = [python, str(Path(__file__).parent / script), *words, json.dumps(workload.document())]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(command, env=_environment(), cwd=folder, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"skipped": f"not done within {timeout:g} seconds"}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("RESULT "):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return result
    words_of_it = [line for line in done.stderr.splitlines() if re.match(r"\S*(Error|Exception)", line)] or done.stderr.splitlines()
    return {"skipped": (words_of_it or ["no word"])[-1][:300]}


def _environment() -> dict[str, str]:
    found = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    found.setdefault("OMP_NUM_THREADS", "8" if ON_GPU else "1")
    return found


def device_name() -> str:
    """The GPU, or the CPU's model and cores."""
    if ON_GPU:
        return str(torch.cuda.get_device_name())
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.exists() else None
    return f"CPU {found.group(1) if found else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def versions() -> dict[str, str]:
    """Of what takes part; TRL's is the pinned one."""
    found = {"python": platform.python_version(), "trl": TRL}
    for name in ("torch", "transformers", "peft", "accelerate", "deepspeed", "bitsandbytes", "triton"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _write(target: Path, results: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")


def _short(run: dict[str, Any]) -> str:
    if "skipped" in run:
        return f"skipped: {run['skipped']}"
    return f"{sum(run['tokens']) / sum(run['seconds']):.0f} tokens/s, {run['memoryBytes'] / 2**30:.2f} GiB"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--size", default="7b" if ON_GPU else "small")
    parser.add_argument("--lengths", choices=("lab", "wide"), default="lab")
    parser.add_argument("--only", type=lambda text: text.split(","), help="contestants, or stages as zero1")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=40, help="steps that DeepSpeed and the loop without it take in turn")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds for one process")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--warmup", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
