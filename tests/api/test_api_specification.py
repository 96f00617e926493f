"""A service's specification: what Snowflake's reference allows is taken, what it forbids is refused with a reason."""

from __future__ import annotations

import copy
from typing import Any

import pydantic
import pytest

from controller.api.service import Service
from controller.api.specification import Specification

MAIN: dict[str, Any] = {"name": "main", "image": "/a/b/c/d:1"}
STAGE = {"name": "v", "source": "stage", "stageConfig": {"name": "@a.b.c/d"}}
BLOCK = {"name": "v", "source": "block", "size": "10Gi"}
METRIC = {"metricName": "m", "aggregationType": "max", "stabilizationPeriodSecs": 60}
TARGET = {"targetScaling": {"targetValue": 1}}
STEPS = {"stepScaling": {"adjustmentType": "exactInstanceCount", "scalingSteps": [{"lowerBound": 1, "targetAdjustment": 2}]}}


def specification(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{**MAIN, **(container or {})}], **spec}}


def policy(kind: str, conditions: str, *metrics: dict[str, Any]) -> dict[str, Any]:
    listed = [{"metricCondition": {**METRIC, **metric}} for metric in metrics]
    return specification(resourceManagement={"autoScalingPolicies": {kind: {conditions: listed}}})


TAKEN = [
    specification({"secrets": [{"snowflakeSecret": {"objectReference": "r"}, "directoryPath": "/s"}]}),
    specification({"sessionTokenConfig": {"path": "/app/token.dir", "permission": "0640"}}),
    specification(endpoints=[{"name": "r", "portRange": "1-65535", "protocol": "TCP"}]),
    specification(endpoints=[{"name": "a", "port": 1, "corsSettings": {"Access-Control-Allow-Origin": ["https://a.b:1/"]}}]),
    specification(volumes=[{**STAGE, "stageConfig": {"name": "@s", "metadataCache": "1h30m45s"}}]),
    specification(
        volumes=[{**BLOCK, "blockConfig": {"iops": 3000, "snapshotDeleteAfter": "48h", "initialContents": {"fromSnapshot": "s"}}}]
    ),
    policy("scaleUp", "anyConditions", TARGET, STEPS),
    policy("suspend", "allConditions", TARGET),
    {**specification(endpoints=[{"name": "a", "port": 1}]), "serviceRoles": [{"name": "r_1", "endpoints": ["a"]}]},
    {**specification(), "capabilities": {"securityContext": {"executeAsCaller": True, "enableCustomCredentials": False}}},
]

REFUSED = [
    (specification({"name": "Main"}), "should match pattern"),
    (specification({"name": "a" * 64}), "should match pattern"),
    ({"spec": {"containers": [{**MAIN, "name": f"c{n}"} for n in range(21)]}}, "at most 20 items"),
    ({"spec": {"containers": [MAIN, MAIN]}}, "two containers are named main"),
    (specification({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}), "mounts x, which is not under volumes"),
    (
        specification({"volumeMounts": [{"name": "v", "mountPath": p} for p in ("/x", "/x/")]}, volumes=[STAGE]),
        "two volumes are mounted at /x",
    ),
    (specification({"readinessProbe": {"port": 1}}), "Field required"),
    (specification({"secrets": [{"snowflakeSecret": "s"}]}), "exactly one of directoryPath and envVarName"),
    (specification({"secrets": [{"snowflakeSecret": "s", "envVarName": "A"}]}), "secretKeyRef is needed with envVarName"),
    (specification({"secrets": [{"snowflakeSecret": {}, "directoryPath": "/s"}]}), "exactly one of objectName and objectReference"),
    (specification({"mountSessionToken": False, "sessionTokenConfig": {"mountConnectionConfig": True}}), "cannot stand beside"),
    (specification({"sessionTokenConfig": {}}), "at least one of path"),
    (specification({"sessionTokenConfig": {"permission": "0600"}}), "permission goes with path"),
    (specification({"sessionTokenConfig": {"path": "/a", "permission": "0666"}}), "may not allow more than 0644"),
    (specification({"sessionTokenConfig": {"path": "/a/../b"}}), "plain absolute path"),
    (specification({"resources": {"requests": {"nvidia.com/gpu": 1}}}), "same number of nvidia.com/gpu"),
    (specification(endpoints=[{"name": "a"}]), "exactly one of port and portRange"),
    (specification(endpoints=[{"name": "a", "port": 1, "portRange": "1-2"}]), "exactly one of port and portRange"),
    (specification(endpoints=[{"name": "a", "portRange": "1-2"}]), "portRange goes with protocol TCP"),
    (specification(endpoints=[{"name": "a", "portRange": "9-2", "protocol": "TCP"}]), "no range of ports"),
    (specification(endpoints=[{"name": "a", "port": 1, "protocol": "TCP", "public": True}]), "a public endpoint speaks HTTP"),
    (specification(endpoints=[{"name": "a", "port": 1, "corsSettings": {"Access-Control-Allow-Origin": ["*"]}}]), "is not an origin"),
    (specification(volumes=[{"name": "v", "source": "stage"}]), "stageConfig is needed for source stage"),
    (specification(volumes=[{"name": "v", "source": "memory"}]), "size is needed"),
    (specification(volumes=[{**BLOCK, "size": "1.5Gi"}]), "whole number of Gi"),
    (specification(volumes=[{**BLOCK, "size": "100M"}]), "whole number of Gi"),
    (specification(volumes=[{**BLOCK, "name": f"v{n}"} for n in range(4)]), "at most 3"),
    (specification(volumes=[{"name": "v", "source": "local", "blockConfig": {}}]), "blockConfig goes with source block"),
    (specification(volumes=[{"name": "v", "source": "local", "uid": 1}]), "uid and gid go with sources stage and block"),
    (specification(volumes=[{**BLOCK, "blockConfig": {"snapshotDeleteAfter": "2w"}}]), "should match pattern"),
    (specification(logExporters={"eventTableConfig": {"logLevel": "DEBUG"}}), "INFO"),
    (policy("suspend", "allConditions", STEPS), "a suspend policy takes targetScaling only"),
    (policy("scaleUp", "anyConditions", {}), "exactly one of targetScaling and stepScaling"),
    (policy("scaleUp", "allConditions", TARGET), "anyConditions"),
    (specification(resourceManagement={"autoScalingPolicies": {}}), "at least one of scaleUp"),
    ({**specification(), "serviceRoles": [{"name": "r", "endpoints": ["a"]}]}, "which is not under spec.endpoints"),
    (
        {**specification(endpoints=[{"name": "a", "port": 1}]), "serviceRoles": [{"name": "all_endpoints_usage", "endpoints": ["a"]}]},
        "is there already",
    ),
]


@pytest.mark.parametrize("document", TAKEN, ids=range(len(TAKEN)))
def test_what_the_reference_allows(document: dict[str, Any]) -> None:
    made = Specification.model_validate(document)
    again = made.model_dump(by_alias=True, exclude_none=True)
    assert Specification.model_validate(again) == made


@pytest.mark.parametrize(("document", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_the_reference_forbids(document: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Specification.model_validate(document)
    assert said in str(caught.value)


def service(**spec: Any) -> Service:
    body = {"computePool": "p", "specification": specification(), **copy.deepcopy(spec)}
    return Service.model_validate({"apiVersion": "snowcat/v1", "kind": "Service", "metadata": {"name": "x"}, "spec": body})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"specification": None}, "exactly one of specification, specificationFile and template"),
        ({"specificationFile": "web.yaml"}, "exactly one of specification, specificationFile and template"),
        ({"specification": None, "template": {"using": {}}}, "exactly one of text and file"),
        ({"specification": None, "template": {"text": "x", "using": {"a-b": 1}}}, "should match pattern"),
        (
            {"specification": specification(volumes=[BLOCK]), "minInstances": 1, "maxInstances": 2},
            "minInstances and maxInstances to be the same",
        ),
        (
            {"specification": specification(endpoints=[{"name": "a", "port": 1, "public": True}]), "autoSuspendSeconds": 300},
            "public endpoints",
        ),
        ({"usage": [{"role": "r", "serviceRole": "none"}]}, "service role none, which is not under serviceRoles"),
        ({"logLevel": "LOUD"}, "Input should be"),
        ({"externalAccess": [f"e{n}" for n in range(11)]}, "at most 10 items"),
    ],
)
def test_what_does_not_go_together(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        service(**spec)
    assert said in str(caught.value)


def test_a_service_with_block_volumes_holds_data() -> None:
    assert service().deletion_policy == "delete"
    assert service(specification=specification(volumes=[BLOCK])).deletion_policy == "orphan"


def test_values_of_a_template_keep_their_types() -> None:
    using = {"a": "8", "b": 8, "c": True, "d": [1], "e": {"ref": "web"}, "f": {"x": 1}, "g": 0.5}
    template = service(specification=None, template={"text": "x", "using": using}).spec.template
    assert template is not None
    kinds = {key: type(value).__name__ for key, value in template.using.items()}
    assert kinds == {"a": "str", "b": "int", "c": "bool", "d": "list", "e": "ImageReference", "f": "dict", "g": "float"}
