"""An upload that finds no room says so, without the signed address of the upload."""

from __future__ import annotations

from pathlib import Path

import pytest
from embedded_account import run_account

from controller.account.connections import find_connection
from controller.account.errors import Rejected
from controller.account.session import open_session
from controller.api.names import QualifiedName


def test_a_full_stage(tmp_path: Path) -> None:
    account = run_account(tmp_path / "state", "--stage-quota", "1000")
    session = open_session(find_connection(str(next(account).state / "account.json"), environ={}), role="ACCOUNTADMIN")
    session.execute("CREATE DATABASE d")
    session.execute("CREATE STAGE s")
    (tmp_path / "big").write_bytes(b"x" * 2000)
    with pytest.raises(Rejected, match="the stage is full") as caught:
        session.put_file(tmp_path / "big", QualifiedName.parse("d.public.s"))
    assert "signature" not in str(caught.value)
    (tmp_path / "small").write_bytes(b"x" * 900)
    session.put_file(tmp_path / "small", QualifiedName.parse("d.public.s"))
    session.close()
    account.close()
