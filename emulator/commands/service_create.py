"""CREATE SERVICE, ALTER SERVICE … FROM and EXECUTE JOB SERVICE: what they share, from the statement's text to a checked version.

Options may stand before or behind the specification, as tools write both orders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.compute_pool import runtime
from emulator.commands.context import CommandContext
from emulator.runtime.families import FAMILIES
from emulator.runtime.instance import Version
from emulator.runtime.schema import SpecError
from emulator.runtime.spec import Resources, ServiceSpec, parse_spec
from emulator.runtime.specdoc import render_template, spec_digest
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor

SERVICE_OPTIONS = {
    "AUTO_SUSPEND_SECS": "int",
    "EXTERNAL_ACCESS_INTEGRATIONS": "names",
    "AUTO_RESUME": "bool",
    "MIN_INSTANCES": "int",
    "MIN_READY_INSTANCES": "int",
    "MAX_INSTANCES": "int",
    "LOG_LEVEL": "string",
    "QUERY_WAREHOUSE": "name",
    "COMMENT": "string",
    "TAG": "any",
}
JOB_OPTIONS = {
    "NAME": "name",
    "ASYNC": "bool",
    "REPLICAS": "int",
    "QUERY_WAREHOUSE": "name",
    "COMMENT": "string",
    "EXTERNAL_ACCESS_INTEGRATIONS": "names",
    "TAG": "any",
}


@dataclass
class ServiceText:
    """What a statement said."""

    pool: QualifiedName | None = None
    specification: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Source:
    text: str
    template: bool


def read(ctx: CommandContext, cursor: Cursor, options: dict[str, str], what: str) -> ServiceText:
    """The rest of the statement, clauses in any order."""
    found = ServiceText()
    source: _Source | None = None
    values: dict[str, Any] | None = None
    while not cursor.at_end():
        before = cursor.index
        if cursor.accept("IN", "COMPUTE", "POOL"):
            found.pool = cursor.name()
        elif cursor.accept("FROM"):
            source = _source(ctx, cursor)
        elif cursor.accept("USING"):
            values = _using(cursor)
        else:
            found.options |= cursor.properties(options, what)
        if cursor.index == before:
            raise cursor.error()
    if source is not None:
        found.specification = source.text
        if source.template:
            try:
                found.specification = render_template(source.text, values or {})
            except SpecError as error:
                raise errors.template_error(str(error)) from None
    return found


def _source(ctx: CommandContext, cursor: Cursor) -> _Source:
    if cursor.accept("SPECIFICATION"):
        return _Source(cursor.string(), template=False)
    if cursor.accept("SPECIFICATION_TEMPLATE"):
        return _Source(cursor.string(), template=True)
    stage = cursor.stage_ref()
    keyword = cursor.accept_any("SPECIFICATION_FILE", "SPECIFICATION_TEMPLATE_FILE")
    if keyword is None:
        raise cursor.error()
    cursor.expect_op("=")
    path = "/".join(part for part in (stage.path, cursor.string().strip("/")) if part)
    obj = ctx.get("STAGE", stage.name, "READ", "WRITE")
    file = ctx.account.stages.path(obj.id, path)
    if not file.is_file():
        raise errors.file_not_found(f"@{stage.name}/{path}")
    try:
        return _Source(file.read_text(), template=keyword == "SPECIFICATION_TEMPLATE_FILE")
    except UnicodeDecodeError:
        raise errors.invalid_spec(f"the file @{stage.name}/{path} is not text") from None


def _using(cursor: Cursor) -> dict[str, Any]:
    cursor.expect_op("(")
    values: dict[str, Any] = {}
    while not cursor.accept_op(")"):
        token = cursor.next()
        if token.kind not in ("word", "quoted"):
            raise cursor.error(token)
        cursor.expect_op("=>")
        values[token.value] = cursor.value()
        cursor.accept_op(",")
    return values


def pool_for(ctx: CommandContext, name: QualifiedName | None) -> CatalogueObject:
    """The pool, usable and awake (it is resumed where AUTO_RESUME allows)."""
    if name is None:
        raise errors.missing_option("COMPUTE_POOL")
    pool = ctx.get("COMPUTE POOL", name, "USAGE")
    if pool.props["suspended"]:
        if not pool.props["auto_resume"]:
            raise pool_suspended(pool.name)
        runtime(ctx).resume_pool(pool)
    return pool


def pool_suspended(name: str) -> errors.SqlError:
    message = f"Compute pool {name} is suspended and AUTO_RESUME is FALSE. Run ALTER COMPUTE POOL {name} RESUME first."
    return errors.SqlError(392509, "22023", message)


def version_for(ctx: CommandContext, text: str | None, pool: CatalogueObject, home: tuple[str, str]) -> Version:
    """A checked version: specification parsed, images resolved, capacity and rights looked at. `home` is (database, schema)."""
    if text is None:
        raise errors.missing_option("SPECIFICATION")
    try:
        spec = parse_spec(text)
    except SpecError as error:
        raise errors.invalid_spec(str(error)) from None
    _check_fit(spec, pool)
    _check_references(ctx, spec, home)
    digests = {}
    for container in spec.containers:
        image = container.image
        name = QualifiedName((image.database, image.schema, image.repository))
        ctx.get("IMAGE REPOSITORY", name, "READ", "WRITE")
        digest = runtime(ctx).platform.image_digest(image)
        if digest is None:
            path = f"{image.database}/{image.schema}/{image.repository}".lower()
            raise errors.invalid_spec(
                f"image {image.image}:{image.reference} of container '{container.name}' was not found in the image repository {path}"
            )
        digests[container.name] = digest
    return Version(spec, digests, spec_digest(spec, digests, FAMILIES[pool.props["instance_family"]]))


def _check_fit(spec: ServiceSpec, pool: CatalogueObject) -> None:
    family = FAMILIES[pool.props["instance_family"]]
    takes = spec.takes(family)
    offered = {"cpu": f"{family.vcpu} CPUs", "memory": f"{family.memory_gib}Gi", "nvidia.com/gpu": f"{family.gpu_count} GPUs"}
    needed = {"cpu": f"{takes.cpu:g} CPUs", "memory": f"{takes.memory / 2**30:g}Gi", "nvidia.com/gpu": f"{takes.gpu} GPUs"}
    lacking = Resources.of_node(family).lacking(takes)
    if lacking is not None:
        raise errors.invalid_spec(
            f"an instance requests {needed[lacking]} ({lacking}), but a node of {family.name} offers {offered[lacking]}, "
            f"so it can never run in compute pool {pool.name}"
        )


def _check_references(ctx: CommandContext, spec: ServiceSpec, home: tuple[str, str]) -> None:
    for volume in spec.volumes.values():
        if volume.stage is not None:
            ctx.get("STAGE", _at_home(volume.stage.name, home), "READ", "WRITE", "USAGE")
    for container in spec.containers:
        for secret in container.secrets:
            obj = ctx.get("SECRET", _at_home(secret.name, home), "READ", "USAGE")
            if secret.key and obj.props.get(secret.key) is None:
                raise errors.invalid_spec(f"Secret key reference {secret.key} does not exist")
    public = any(endpoint.public for endpoint in spec.endpoints)
    role = ctx.session.role
    if public and role != "ACCOUNTADMIN" and "BIND SERVICE ENDPOINT" not in ctx.access.global_privileges(ctx.roles):
        raise errors.SqlError(
            3001,
            "42501",
            f"{errors.ACCESS}Insufficient privileges to operate on account '{ctx.account.name}'. Your primary role {role} must "
            "have BIND SERVICE ENDPOINT granted on ACCOUNT.",
        )


def _at_home(name: str, home: tuple[str, str]) -> QualifiedName:
    parts = Cursor(name).name().parts
    return QualifiedName((*home[: 3 - len(parts)], *parts))


_FIXED = ("size", "iops", "throughput", "encryption")


def block_volumes(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The block volumes of a canonical specification by name, with what is fixed when they are made."""
    found = {}
    for volume in document["spec"].get("volumes", []):
        if volume["source"] == "block":
            config = volume.get("blockConfig", {})
            found[volume["name"]] = {key: config.get(key, volume.get(key)) for key in _FIXED}
    return found


def check_blocks(document: dict[str, Any], props: dict[str, Any]) -> None:
    """A service with block volumes has a fixed number of instances. Raises 395018 for another."""
    if block_volumes(document) and props["min_instances"] != props["max_instances"]:
        low, high = props["min_instances"], props["max_instances"]
        raise errors.invalid_spec(f"block volumes need MIN_INSTANCES and MAX_INSTANCES to be equal, got {low} and {high}")


def options_to_props(ctx: CommandContext, options: dict[str, Any]) -> dict[str, Any]:
    """Options as they are stored; integrations and the warehouse are checked."""
    props: dict[str, Any] = {}
    for key, value in options.items():
        if key == "EXTERNAL_ACCESS_INTEGRATIONS":
            props["eais"] = [ctx.get("INTEGRATION", name, "USAGE").name for name in value]
        elif key == "QUERY_WAREHOUSE":
            props["query_warehouse"] = ctx.get("WAREHOUSE", value, "USAGE").name if value is not None else None
        elif key in ("COMMENT", "TAG", "NAME"):
            continue
        else:
            props[f"set_{key.lower()}"] = value
    return props


def apply_instances(props: dict[str, Any]) -> None:
    """Effective values of the options that default to each other. Raises 1422 for values that contradict."""
    minimum = props.get("set_min_instances")
    maximum = props.get("set_max_instances")
    ready = props.get("set_min_ready_instances")
    low = 1 if minimum is None else minimum
    high = low if maximum is None else maximum
    needed = low if ready is None else ready
    if low < 1:
        raise errors.invalid_property(low, "MIN_INSTANCES")
    if high < low:
        raise errors.invalid_property(high, "MAX_INSTANCES")
    if not 0 <= needed <= low:
        raise errors.invalid_property(needed, "MIN_READY_INSTANCES")
    seconds = props.get("set_auto_suspend_secs") or 0
    if seconds and seconds < 300:
        raise errors.invalid_property(seconds, "AUTO_SUSPEND_SECS")
    resume = props.get("set_auto_resume")
    props.update(
        min_instances=low,
        max_instances=high,
        min_ready_instances=needed,
        auto_suspend_secs=seconds,
        auto_resume=True if resume is None else resume,
    )
