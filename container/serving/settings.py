"""What the server was started with; free of torch, so that a wrong setting shows at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from container import paths, settings
from training.config import Prompt
from training.errors import BadInputError


@dataclass(frozen=True)
class ServerSettings:
    """What the server was started with."""

    model: Path
    name: str
    version: str
    prompt: Prompt
    port: int
    max_new_tokens: int
    max_batch_rows: int
    threads: int

    @classmethod
    def from_environment(cls) -> ServerSettings:
        """Read the `SNOWCAT_*` variables. Raises BadInputError that names the wrong one."""
        model = os.environ.get("SNOWCAT_MODEL_PATH")
        if not model:
            raise BadInputError("SNOWCAT_MODEL_PATH is not set; it must name the folder of the model")
        return cls(
            model=paths.real(model),
            name=os.environ.get("SNOWCAT_MODEL_NAME") or Path(model).name,
            version=os.environ.get("SNOWCAT_MODEL_VERSION") or "unknown",
            prompt=settings.document(Prompt, "SNOWCAT_PROMPT") if os.environ.get("SNOWCAT_PROMPT") else Prompt(),
            port=settings.number("SNOWCAT_PORT", 8000),
            max_new_tokens=settings.number("SNOWCAT_MAX_NEW_TOKENS", 256),
            max_batch_rows=settings.number("SNOWCAT_MAX_BATCH_ROWS", 100),
            threads=settings.number("SNOWCAT_THREADS", settings.cores()),
        )
