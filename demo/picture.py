"""Turns the output of a real `make demo` into the picture of the README.

make demo | tee demo.log
python demo/picture.py demo.log docs/demo.svg
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

KEPT = re.compile(
    r"^\[ *[\d.]+s\] .*(Synced Healthy|FineTuneJob/.*(train|evaluat|finished))|healthy after|^[┏┃┡│└━ ].*|All in all|of the test split"
)


def main() -> None:
    log, picture = Path(sys.argv[1]), Path(sys.argv[2])
    lines = [line for line in log.read_text(encoding="utf-8").split("Two of them side by side")[0].splitlines() if KEPT.search(line)]
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(Text("$ make demo", style="bold"))
    for line in lines:
        style = "green" if " Healthy" in line or "healthy" in line else "yellow" if "Progressing" in line else ""
        console.print(Text(line, style=style), overflow="ellipsis", no_wrap=True)
    picture.write_text(console.export_svg(title="make demo"), encoding="utf-8")


if __name__ == "__main__":
    main()
