"""The base model's scores, kept in the run's folder: a later attempt of the run reads them in place of answering all rows again.

They are used only where all that they depend on is the same. A file that a kill has cut off is no JSON, so it does not count.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from training.config import TrainingConfig
from training.files import write_json
from training.model.folder import BaseIdentity
from training.scoring.evaluate import Scores
from training.scoring.metrics import Prediction

FILE = "base_scores.json"


@dataclass(frozen=True)
class BaseScores:
    """Where they are kept; `key` stands for all that they depend on, empty where the base model has no identity."""

    path: Path
    key: str

    @classmethod
    def of(
        cls, folder: Path, config: TrainingConfig, base: BaseIdentity, fingerprint: str, dtype: torch.dtype, *, four_bit: bool
    ) -> BaseScores:
        """For the run in `folder`; `fingerprint` is that of its rows, `dtype` and `four_bit` say how the model computes."""
        wanted = [config.evaluation.document(), config.predictions is not None]
        words = [base.id, base.sha256, fingerprint, wanted, str(dtype), four_bit]
        key = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest() if base.sha256 else ""
        return cls(folder / FILE, key)

    def read(self) -> tuple[Scores, float] | None:
        """The scores and the seconds that they took; None where there are none, or those of something else."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if not self.key or document["version"] != 1 or document["key"] != self.key:
                return None
            predictions = tuple(Prediction(**row) for row in document["predictions"])
            return Scores(document["means"], predictions), float(document["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, scores: Scores, seconds: float) -> None:
        """Keep them, as one whole file. Raises OSError."""
        if self.key:
            rows = [asdict(prediction) for prediction in scores.predictions]
            write_json(self.path, {"version": 1, "key": self.key, "seconds": seconds, "means": scores.means, "predictions": rows})
