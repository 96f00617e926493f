"""Which files go to a stage, and under which names, where some are links."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.account.session import Session
from controller.api.names import QualifiedName
from controller.api.stage import StageFiles
from controller.kinds.base import Stalled
from controller.kinds.stage_files import find_uploads

STAGE = QualifiedName.parse("d.s.files")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for place in ("project/data", "outside"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "project/data/b.txt").write_text("b")
    (tmp_path / "outside/secret.txt").write_text("s")
    return tmp_path / "project"


def wanted(pattern: str) -> list[StageFiles]:
    return [StageFiles.model_validate({"from": pattern})]


def test_a_link_goes_by_its_own_name(project: Path) -> None:
    (project / "data/latest.txt").symlink_to("b.txt")
    uploads = find_uploads(wanted("data"), project, project)
    assert [upload.path for upload in uploads] == ["b.txt", "latest.txt"]
    sent: list[str] = []
    session: Any = SimpleNamespace(execute=lambda text: sent.append(text) or SimpleNamespace(rows=()))
    for upload in uploads:
        Session.put_file(session, upload.file, STAGE, upload.folder)
    assert [text.split("'")[1].rpartition("/")[2] for text in sent] == ["b.txt", "latest.txt"]


@pytest.mark.parametrize(
    ("link", "to", "pattern", "reason"),
    [
        ("data/p.txt", "../../outside/secret.txt", "data/*.txt", "a file among others"),
        ("data/p.txt", "../../outside/secret.txt", "data", "below a folder"),
        ("data/p.txt", "../../outside/secret.txt", "data/p.txt", "by its name"),
        ("more", "../outside", "more/*.txt", "a folder"),
    ],
)
def test_a_link_that_leaves_the_project_is_refused(link: str, to: str, pattern: str, reason: str, project: Path) -> None:
    (project / link).symlink_to(to)
    with pytest.raises(Stalled, match=r"outside/secret\.txt, which is not in the project's folder; a stage keeps files of the project"):
        find_uploads(wanted(pattern), project, project)
