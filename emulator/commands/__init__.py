"""The account's own statements, one module per object kind. Importing `load()`'s modules fills the dispatch tables."""

from __future__ import annotations

import importlib
import pkgutil


def load() -> None:
    """Imports every command module, so that each registers its statements."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
