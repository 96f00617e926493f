"""From a dataset to a SQL function in a running account, with small programs in the place of trainer and server.

The programs keep the contract of ours (configuration in, documents on the stage, exit codes, `/predict`) and need no model. What is tested
here is the controller: what it starts, what it reads back, and what it does when something changes or fails.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reconcile_live import Live
from reconcile_programs import write_programs

MANIFESTS = """
    kind: Warehouse
    metadata: {name: wh_@}
    ---
    kind: Database
    metadata: {name: db_@, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db_@, deletionPolicy: delete}
    ---
    kind: ComputePool
    metadata: {name: pool_@}
    spec: {instanceFamily: CPU_X64_M}
    ---
    kind: Stage
    metadata: {name: models, schema: db_@.sch, deletionPolicy: delete}
    ---
    kind: ImageRepository
    metadata: {name: repo, schema: db_@.sch, deletionPolicy: delete}
    ---
    kind: Image
    metadata: {name: tiny, schema: db_@.sch}
    spec: {repository: repo, context: app}
    ---
    kind: Image
    metadata: {name: server, schema: db_@.sch}
    spec: {repository: repo, context: app, dockerfile: Dockerfile.server}
    ---
    kind: Dataset
    metadata: {name: calls, schema: db_@.sch, deletionPolicy: delete}
    spec: {file: calls.jsonl}
    ---
    kind: BaseModel
    metadata: {name: small, schema: db_@.sch}
    spec: {source: {huggingFace: {id: org/small}}, stage: models, computePool: pool_@, image: tiny}
    ---
    kind: FineTuneJob
    metadata: {name: wishes, schema: db_@.sch}
    spec:
      computePool: pool_@
      image: tiny
      model: small
      dataset: calls
      data: {columns: {output: tags}}
      prompt: {instruction: Tag it.}
      training: {maxSteps: 2, learningRate: 0.008}
      output: {stage: models}
      retry: {limit: 1}
      env: {FAILURES: 1, CODE: 1}
    ---
    kind: ModelDeployment
    metadata: {name: tuned, schema: db_@.sch}
    spec:
      model: {fromJob: wishes}
      promote: {when: {metric: field_f1, atLeast: 0.5}}
      computePool: pool_@
      image: server
      function: {name: predict, maxBatchRows: 10}
      resources: {requests: {cpu: 0.5, memory: 500M}}
"""


@pytest.fixture
def chain(live: Live) -> Live:
    """The whole chain, written but not applied."""
    project = live.folder / "snowcat.yaml"
    project.write_text(project.read_text() + f"warehouse: wh_{live.n}\n")
    write_programs(live.folder)
    rows(live, "call")
    live.write(objects=MANIFESTS)
    return live


def rows(live: Live, word: str) -> None:
    lines = [json.dumps({"input": f"{word} {n}", "tags": ["a", n]}) for n in range(10)]
    (Path(live.folder) / "calls.jsonl").write_text("\n".join(lines))


def status(live: Live, name: str) -> Any:
    return next(s for s in live.reports[-1].statuses if str(s.key) == name)


def query(live: Live, statement: str) -> Any:
    """The first value of a query as the project's own role, with its warehouse."""
    with live.pool.session() as session, session.warehouse(live.text("wh_@")):
        return session.execute(live.text(statement)).scalar


def asked(live: Live) -> Any:
    return query(live, "SELECT db_@.sch.predict('hello')")


def jobs(live: Live, prefix: str = "") -> list[str]:
    with live.pool.session() as session:
        rows = session.execute(live.text("SHOW JOB SERVICES IN SCHEMA db_@.sch")).rows
    return [str(row["name"]) for row in rows if str(row["name"]).startswith(prefix)]


def test_the_chain_from_a_file_to_a_function(chain: Live) -> None:
    report = chain.apply()
    assert report.ready, [(str(s.key), s.message) for s in report.failed]
    first = status(chain, "FineTuneJob/wishes").observed
    assert first["attempt"] == 2, "the first attempt failed and was repeated"
    assert asked(chain) == f"{first['run']}: hello"

    # again: nothing to do, nothing trained
    made = jobs(chain)
    engine = chain.engine()
    loaded = engine.load()
    assert engine.plan(loaded, engine.look(loaded)).empty
    assert chain.apply().ready
    assert jobs(chain) == made

    # another row is another run, and the deployment moves over to it
    rows(chain, "talk")
    assert chain.apply().ready
    second = status(chain, "FineTuneJob/wishes").observed["run"]
    assert second != first["run"]
    assert asked(chain) == f"{second}: hello"
    assert query(chain, "SELECT COUNT(*) FROM db_@.sch.calls WHERE input LIKE 'talk%'") == 10

    # a worse model is trained and not promoted
    chain.write(objects=MANIFESTS.replace("learningRate: 0.008", "learningRate: 0.001"))
    report = chain.apply()
    assert asked(chain) == f"{second}: hello"
    held = {c.type: c for c in status(chain, "ModelDeployment/tuned").conditions}["GateHeld"]
    assert str(held.status) == "True" and "field_f1 0.10 is below 0.5" in held.message


def test_a_job_that_needs_a_person_is_not_repeated(chain: Live) -> None:
    chain.write(objects=MANIFESTS.replace("env: {FAILURES: 1, CODE: 1}", "env: {FAILURES: 9, CODE: 10}"))
    report = chain.apply()
    assert not report.ready
    found = status(chain, "FineTuneJob/wishes")
    assert found.stalled and "no luck" in found.message
    assert len(jobs(chain, "WISHES_")) == 1
