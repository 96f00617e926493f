"""The command line loads the driver without pandas; whoever wants pandas itself still gets it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("lean", "reason"), [(True, "not for the command line"), (False, "a library leaves the driver as it is")])
def test_the_driver_and_pandas(lean: bool, reason: str) -> None:
    code = (
        "import sys\nfrom controller.account import lean\n"
        f"lean.wanted = {lean}\n"
        "from controller.account.driver import connector\n"
        "print('pandas' in sys.modules, connector.__name__)\n"
        "import pandas, pyarrow.parquet\n"
        "print(pandas.DataFrame({'a': [1]}).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{not lean} snowflake.connector\n(1, 1)\n", reason
