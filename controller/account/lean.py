"""Lets the command line load Snowflake's driver without pandas and pyarrow.

Where the two are installed (for the embedded account, say) the driver imports them at once: a second of every command's start and 65 MB of
a daemon's memory, for functions that nothing here calls. Who shares a process with users of those functions does not ask for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

wanted = False
"""Set by the command line before anything imports `controller.account.driver`."""


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Modules that an import does not find while the block runs, if that is wanted and they are not loaded already."""
    modules: dict[str, Any] = sys.modules
    absent = [name for name in names if wanted and name not in modules]
    modules.update(dict.fromkeys(absent))  # None is how Python marks what must not be imported
    try:
        yield
    finally:
        for name in absent:
            del modules[name]
