"""What the project file says of the lease, and what an administrator makes for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.cli.prepare import as_loaded
from controller.manifests.project import load_project
from controller.manifests.resolve import existing_objects
from controller.reconcile.bootstrap import as_script, bootstrap_statements

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: small\nrole: worker\n"


def bootstrap(folder: Path, more: str) -> str:
    (folder / "snowcat.yaml").write_text(PROJECT + more)
    return as_script(bootstrap_statements(as_loaded(load_project(folder), False)))


def test_bootstrap_gives_the_role_what_a_lease_needs(tmp_path: Path) -> None:
    script = bootstrap(tmp_path, "home: ops.snowcat\n")
    assert "CREATE SCHEMA IF NOT EXISTS OPS.SNOWCAT;" in script
    assert "GRANT USAGE, CREATE STAGE ON SCHEMA OPS.SNOWCAT TO ROLE WORKER;" in script


def test_without_a_home_nothing_is_made_for_it(tmp_path: Path) -> None:
    script = bootstrap(tmp_path, "home: null\n")
    assert "CREATE SCHEMA" not in script and "CREATE STAGE" not in script
    settings = load_project(tmp_path).settings
    assert settings is not None
    keys, wrong = existing_objects(settings)
    assert not wrong and ObjectKey("Schema", QualifiedName.parse("snowcat.control")) not in keys


@pytest.mark.parametrize(("text", "seconds"), [("", 15.0), ("lease: {seconds: 1m}\n", 60.0), ("lease: {seconds: 0}\n", 0.0)])
def test_the_period_is_a_length_of_time(tmp_path: Path, text: str, seconds: float) -> None:
    (tmp_path / "snowcat.yaml").write_text(PROJECT + text)
    settings = load_project(tmp_path).settings
    assert settings is not None and settings.lease.seconds == seconds
