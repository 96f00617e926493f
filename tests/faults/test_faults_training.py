"""Three kills on the way from a dataset to a tuned model that answers, with a real fine-tune of two steps: it is made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults_crash import DEEP, differences
from faults_lab import CLIENT, LEASE, LightLab

from demo.lab import quick_manifests, rows

#: What the daemon is killed at, where, and whether the statement is lost: the job was started and nobody got the answer; the tuned model is
#: about to be put to use; its function comes only when the next daemon works already.
KILLS = (
    ("EXECUTE JOB SERVICE.*TOY_WISHES", "after", False),
    ("CREATE SERVICE.*LLAMA_FINETUNED", "before", True),
    (r"CREATE FUNCTION.*LLAMA_PREDICT\(", "before", False),
)


@pytest.mark.deep
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not DEEP, reason="trains a real model: part of `make test-deep`")
def test_killed_around_a_real_fine_tune(tmp_path: Path) -> None:
    quick_manifests(tmp_path / "manifests", steps=2, evaluated=2)
    lab = LightLab(tmp_path)
    lab.account.start()
    try:
        for statement, side, cancel in KILLS:
            lab.faults.put({"match": statement, "client": CLIENT, "hold": side})
            daemon = lab.start("apply")
            try:
                lab.faults.await_held(patience=900)
            finally:
                daemon.kill()
                daemon.wait()
            lab.faults.release(cancel=cancel)
            lab.faults.clear()
        lab.finish("apply")
        with lab.account.connect(role="VENKSADMIN", warehouse="LLM_FINETUNE_WH") as connection:
            jobs = [row for row in rows(connection, "SHOW JOB SERVICES IN ACCOUNT") if row["name"].startswith("TOY_WISHES")]
            assert [row["status"] for row in jobs] == ["DONE"], "one try, and it was enough"
            (answer,) = rows(connection, "SELECT llm_finetune_db.hol.llama_predict('Hello from Oslo') AS tuned")
            assert answer["tuned"]
        portrait, last = lab.portrait(), lab.faults.statements()[-1]["n"]
        lab.finish("apply")
        assert [text for text in lab.changes(last) if LEASE not in text] == []
        assert differences(portrait, lab.portrait()) == []
    finally:
        lab.account.stop()
