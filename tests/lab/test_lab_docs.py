"""The documents say what is true: the code in them runs, the files and tests that they name are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)")


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_walk_through_of_a_new_kind_runs(tmp_path: Path) -> None:
    parts = blocks(ROOT / "docs" / "add-a-kind.md", "python")
    assert len(parts) == 4
    future = "from __future__ import annotations\n"
    (tmp_path / "test_kinds_sequence.py").write_text(future + "\n".join(part.replace(future, "") for part in parts), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    missing = [target for target in LINK.findall(document.read_text(encoding="utf-8")) if not (document.parent / target).exists()]
    assert missing == []


def test_tests_named_in_the_docs_exist() -> None:
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    functions = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"`(?:tests/\w+/)?(test_\w+)(?:\.py)?`", text)) - {"test_kinds_sequence"}
        assert named <= files | functions, (document.name, named - files - functions)


def test_the_readme_names_the_commands_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)`", document.read_text(encoding="utf-8")))
        assert named <= targets, (document.name, named - targets)


def test_rows_of_bad_input_have_their_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "manifests").glob("test_manifests_bad_*.py"))
    part = (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8").split("## In the files")[1].split("## In the account")[0]
    named = re.findall(r'\| "([^"]+)" \|$', part, re.MULTILINE)
    assert len(named) >= 15
    for reason in named:
        assert f'"{reason}"' in tests, reason
