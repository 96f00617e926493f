"""Taking a project down: what it made, in reverse order, and nothing else."""

from __future__ import annotations

from pathlib import Path

from reconcile_live import FastClock, Live
from reconcile_world import World, key, write

from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.kinds.registry import KINDS
from controller.reconcile.bootstrap import as_script, bootstrap_statements, run_bootstrap
from controller.reconcile.destroy import Destroyed, Destroyer, removal
from controller.reconcile.planning.order import drop_order

PROJECT = """
    kind: Warehouse
    metadata: {name: wh_@}
    ---
    kind: Warehouse
    metadata: {name: stays_@, deletionPolicy: orphan}
    ---
    kind: ComputePool
    metadata: {name: pool_@}
    spec: {instanceFamily: CPU_X64_XS}
    ---
    kind: Database
    metadata: {name: db_@, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db_@, deletionPolicy: delete}
    ---
    kind: Stage
    metadata: {name: st, schema: db_@.sch, deletionPolicy: delete}
    ---
    kind: ImageRepository
    metadata: {name: repo, schema: db_@.sch, deletionPolicy: delete}
"""


def destroy(live: Live) -> Destroyed:
    return Destroyer(live.engine()).run()


def test_everything_goes_in_reverse_order(live: Live) -> None:
    live.write(a=PROJECT)
    assert live.apply().ready
    live.sql("CREATE WAREHOUSE bystander_@")
    result = destroy(live)
    order = [str(key).replace(str(live.n), "@") for key in result.dropped]
    assert result.clean, result
    assert order.index("Stage/st") < order.index("Schema/sch") < order.index("Database/db_@")
    assert set(order) == {*("Warehouse/wh_@", "ComputePool/pool_@", "Database/db_@", "Schema/sch", "Stage/st", "ImageRepository/repo")}
    assert not live.row("DATABASES", "db_@") and not live.row("COMPUTE POOLS", "pool_@") and not live.row("WAREHOUSES", "wh_@")
    assert live.row("WAREHOUSES", "stays_@") and live.row("WAREHOUSES", "bystander_@")
    assert [str(key) for key in result.kept] == [live.text("Warehouse/stays_@")]
    assert destroy(live).dropped == [], "a second time there is nothing left to do"


def test_a_leftover_of_an_earlier_manifest_goes_too(live: Live) -> None:
    live.write(a=PROJECT)
    live.apply()
    live.write(a="kind: Warehouse\nmetadata: {name: wh_@}")
    assert destroy(live).clean
    assert not live.row("DATABASES", "db_@") and not live.row("COMPUTE POOLS", "pool_@")


def test_a_database_with_foreign_content_is_refused(live: Live) -> None:
    live.write(a=PROJECT)
    live.apply()
    live.by_hand("CREATE STAGE db_@.public.theirs")
    result = destroy(live)
    assert not result.clean
    assert [(str(key).replace(str(live.n), "@"), why) for key, why in result.refused.items()] == [
        ("Database/db_@", "it holds stage THEIRS")
    ]
    assert live.row("DATABASES", "db_@") and not live.row("COMPUTE POOLS", "pool_@"), "the rest goes on"


def test_foreign_content_that_our_role_alone_does_not_see(live: Live) -> None:
    """A schema's owner drops what another role made inside without having seen it: all roles of the user look."""
    live.write(a=PROJECT)
    live.apply()
    live.sql("CREATE TABLE db_@.sch.theirs (a INT)")
    result = destroy(live)
    assert sorted(str(key).replace(str(live.n), "@") for key in result.refused) == ["Database/db_@", "Schema/sch"]
    assert "THEIRS" in next(iter(result.refused.values()))
    assert live.sql("SHOW TABLES IN SCHEMA db_@.sch")


def test_what_others_made_is_never_dropped(live: Live) -> None:
    live.sql("CREATE WAREHOUSE wh_@ COMMENT = 'theirs'")
    live.sql("GRANT MANAGE GRANTS ON ACCOUNT TO ROLE worker@")
    live.write(a="kind: Warehouse\nmetadata: {name: wh_@}")
    result = destroy(live)
    assert result.dropped == [] and len(result.kept) == 1
    assert live.row("WAREHOUSES", "wh_@")


TWO = "kind: Warehouse\nmetadata: {name: wh_@}\n---\nkind: Warehouse\nmetadata: {name: other_@}"


def test_what_another_role_owns_now_is_not_called_dropped(live: Live) -> None:
    """Without a right to it the account says that it does not exist, as it would if it were gone; MANAGE GRANTS lets it be listed still."""
    live.write(a=TWO)
    assert live.apply().ready
    live.sql("GRANT OWNERSHIP ON WAREHOUSE wh_@ TO ROLE SYSADMIN")
    live.sql("GRANT MANAGE GRANTS ON ACCOUNT TO ROLE worker@")
    result = Destroyer(live.engine(), clock=FastClock()).run()
    assert [str(key).replace(str(live.n), "@") for key in result.dropped] == ["Warehouse/other_@"]
    assert ["another role owns it" in why for why in result.failed.values()] == [True]
    assert live.row("WAREHOUSES", "wh_@")


def test_a_leftover_that_another_role_owns_now_is_tried_again_later_and_later(live: Live) -> None:
    live.write(a=TWO)
    assert live.apply().ready
    live.sql("GRANT OWNERSHIP ON WAREHOUSE wh_@ TO ROLE SYSADMIN")
    live.sql("GRANT MANAGE GRANTS ON ACCOUNT TO ROLE worker@")
    live.write(a="kind: Warehouse\nmetadata: {name: other_@}")
    report = live.apply(timeout=300)
    (failure,) = live.state.failures([ObjectKey("Warehouse", QualifiedName.parse(live.text("wh_@")))]).values()
    assert failure.count < 12, "of the 300 seconds a try takes twice as many as the one before"
    assert not report.ready and live.row("WAREHOUSES", "wh_@")


def test_one_object_alone(live: Live) -> None:
    live.write(a=PROJECT)
    live.apply()
    engine = live.engine()
    graph = engine.load().graph
    (repo,), (schema,) = graph.of_kind("ImageRepository"), graph.of_kind("Schema")
    refused = Destroyer(engine).run(only=[schema.key])
    assert "needs it" in refused.refused[schema.key] and refused.dropped == []
    assert Destroyer(engine).run(only=[repo.key]).dropped == [repo.key]
    assert live.row("DATABASES", "db_@")


def test_drop_order_puts_containers_last(live: Live) -> None:
    live.write(a=PROJECT)
    graph = live.engine().load().graph
    names = [key.kind for key in drop_order(graph.objects, graph)]
    assert names.index("Database") > names.index("Schema") > max(names.index("Stage"), names.index("ImageRepository"))


def test_bootstrap_can_be_run_again_and_prints_what_it_runs(live: Live) -> None:
    live.write(
        a="""
        kind: Role
        metadata: {name: worker@, managementPolicy: orphan}
        spec:
          privileges: [{on: account, privileges: [CREATE DATABASE]}]
          grantedTo: {users: [admin]}
        """
    )
    statements = bootstrap_statements(live.engine().load())
    for _ in range(2):
        run_bootstrap(live.admin, statements)
    live.sql("USE ROLE ACCOUNTADMIN")
    script = as_script(statements)
    assert script.startswith("USE ROLE SECURITYADMIN;\nCREATE ROLE IF NOT EXISTS ")
    assert live.text("GRANT CREATE DATABASE ON ACCOUNT TO ROLE WORKER@;") in script
    assert script.count(";\n") == len(statements)
    report = live.apply()
    assert report.ready, "the role that bootstrap made is the one that the manifest asks for"


IMAGE_AND_SERVICE = """
    kind: ComputePool
    metadata: {name: pool}
    spec: {instanceFamily: CPU_X64_XS}
    ---
    kind: Database
    metadata: {name: db}
    ---
    kind: Schema
    metadata: {name: sch, database: db}
    ---
    kind: ImageRepository
    metadata: {name: repo, schema: db.sch, deletionPolicy: delete}
    ---
    kind: Image
    metadata: {name: tiny, schema: db.sch}
    spec: {repository: repo, context: app}
    ---
    kind: Service
    metadata: {name: web, schema: db.sch, deletionPolicy: delete}
    spec:
      computePool: pool
      specification: {spec: {containers: [{name: main, image: {ref: tiny}}]}}
"""


def test_a_repository_waits_for_the_services_that_run_its_images(tmp_path: Path) -> None:
    """An image has nothing to drop of its own; what needs it must still go before what it lies in."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\n")
    world = World(write(tmp_path, all=IMAGE_AND_SERVICE))
    for what, kind, name in (("IMAGE REPOSITORIES", "ImageRepository", "db.sch.repo"), ("SERVICES", "Service", "db.sch.web")):
        world.account.put(what, name, world.comment(kind, name))
    drops = removal(world.view(dropping=True), KINDS).drops
    assert [str(one) for one in drops] == ["Service/web", "ImageRepository/repo"]
    assert [str(one) for one in drops[key("ImageRepository", "db.sch.repo")].after] == ["Service/web"]
