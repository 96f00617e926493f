"""The document that describes one fine-tune, as it is handed to the job.

The controller writes it, the trainer reads it, and the parts about method and training are also the `spec` of a
FineTuneJob manifest. So this package knows nothing of torch, and unknown fields are errors: a misspelt `learningRte`
must never train with a default. Field names are camelCase in documents and snake_case in Python.
"""

from training.config.document import CONFIG_VERSION, Output, Run, TrainingConfig, check_parts
from training.config.method import DeepSpeed, Lora, Method, Technique
from training.config.rows import (
    PLACEHOLDER,
    SPLIT_COLUMN,
    TEMPLATES,
    Base,
    Columns,
    Data,
    Loss,
    Prompt,
    Shares,
    Split,
    TooLong,
)
from training.config.scoring import (
    BUILT_IN,
    LOWER_IS_BETTER,
    PREDICTIONS_PLACE,
    EarlyStopping,
    Evaluation,
    Metric,
    Mlflow,
    Predictions,
    SqlMetric,
    Tracker,
)
from training.config.section import Positive, Section
from training.config.steps import Attention, Checkpoint, Dtype, Training

__all__ = [
    "BUILT_IN",
    "CONFIG_VERSION",
    "LOWER_IS_BETTER",
    "PLACEHOLDER",
    "PREDICTIONS_PLACE",
    "SPLIT_COLUMN",
    "TEMPLATES",
    "Attention",
    "Base",
    "Checkpoint",
    "Columns",
    "Data",
    "DeepSpeed",
    "Dtype",
    "EarlyStopping",
    "Evaluation",
    "Lora",
    "Loss",
    "Method",
    "Metric",
    "Mlflow",
    "Output",
    "Positive",
    "Predictions",
    "Prompt",
    "Run",
    "Section",
    "Shares",
    "Split",
    "SqlMetric",
    "Technique",
    "TooLong",
    "Tracker",
    "Training",
    "TrainingConfig",
    "check_parts",
]
