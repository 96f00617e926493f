"""What the models of the kinds accept and refuse, beyond what the loader's tests show."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from controller.api.base import DeletionPolicy, Manifest
from controller.api.parts import Amounts, Instances, Resources
from controller.api.registry import KINDS

MINIMAL: dict[str, dict[str, Any]] = {
    "ComputePool": {"instanceFamily": "CPU_X64_XS"},
    "Secret": {"valueFrom": {"env": "TOKEN"}},
    "NetworkRule": {"values": ["example.com"]},
    "ExternalAccessIntegration": {"networkRules": ["rule"]},
    "Image": {"repository": "repo", "builtin": "trainer"},
    "Dataset": {"file": "rows.jsonl"},
    "BaseModel": {"source": {"huggingFace": {"id": "a/b"}}, "stage": "s", "computePool": "p", "image": "trainer"},
    "FineTuneJob": {"computePool": "p", "image": "trainer", "model": "m", "dataset": "d", "output": {"stage": "s"}},
    "ModelDeployment": {"model": "m", "computePool": "p", "image": "server", "function": {"name": "f"}},
    "Service": {"computePool": "p", "specification": {"spec": {"containers": [{"name": "main", "image": "/a/b/c/d:1"}]}}},
    "Workspace": {"computePool": "p", "image": "workspace", "stage": "s"},
    "Gateway": {"targets": [{"service": "s", "endpoint": "api", "weight": 100}]},
}


def manifest(kind: str, **spec: Any) -> Manifest:
    document = {"apiVersion": "snowcat/v1", "kind": kind, "metadata": {"name": "x"}, "spec": {**MINIMAL.get(kind, {}), **spec}}
    return KINDS[kind].model_validate(document, by_alias=True, by_name=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_that_must_be_said_is_enough(kind: str) -> None:
    made = manifest(kind)
    assert made.kind == kind
    assert type(made).model_validate(made.model_dump(by_alias=True), by_alias=True) == made, "it survives being written and read"


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_closed(kind: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="surprise"):
        manifest(kind, surprise=1)


def test_what_holds_data_is_kept_unless_the_manifest_says_otherwise() -> None:
    keeps = {kind for kind in KINDS if manifest(kind).deletion_policy is DeletionPolicy.ORPHAN}
    assert keeps == {"Database", "Schema", "Stage", "ImageRepository", "Dataset"}


REFUSED = [
    ("ComputePool", {"minNodes": 0}, "greater than or equal to 1"),
    ("ComputePool", {"backupInstanceFamilies": ["cpu_x64_xs"]}, "not the pool's own"),
    ("ComputePool", {"instanceFamily": "gpu 7"}, "is not an instance family"),
    ("Secret", {"valueFrom": {}}, "found none"),
    ("Secret", {"type": "password"}, "username is needed for type password"),
    ("NetworkRule", {"values": []}, "at least 1 item"),
    ("Image", {"context": "."}, "exactly one of builtin and context"),
    ("Image", {"target": "x"}, "go with context"),
    ("Dataset", {"file": "rows.xlsx"}, "none of .jsonl"),
    ("Dataset", {"split": {"train": 0.5}}, "add up to 1; they are 0.7"),
    ("BaseModel", {"computePool": None}, "via: job needs computePool and image"),
    ("BaseModel", {"source": {"path": "folder"}}, "say via: local"),
    ("BaseModel", {"source": {"huggingFace": {"id": "a/b"}, "path": "x"}}, "found huggingFace and path"),
    ("FineTuneJob", {"method": {"full": True, "lora": {}}}, "exactly one of"),
    ("FineTuneJob", {"training": {"epochs": 1, "maxSteps": 2}}, "epochs or maxSteps, not both"),
    ("FineTuneJob", {"output": {"stage": "s", "registry": {"model": "M"}}}, "registry"),
    ("ModelDeployment", {"model": {}}, "exactly one of base and fromJob"),
    ("ModelDeployment", {"promote": {"when": {"metric": "f1", "atLeast": 1}}}, "promote goes with model.fromJob"),
    ("ModelDeployment", {"promote": {"when": {"metric": "f1"}}}, "exactly one of atLeast and atMost"),
    ("ModelDeployment", {"promote": {"when": {"metric": "f1", "atLeast": 1, "atMost": 2}}}, "exactly one of atLeast and atMost"),
    ("ModelDeployment", {"promote": {"when": {"metric": "perplexity", "atLeast": 1}}}, "lower: use atMost"),
    ("ModelDeployment", {"promote": {"when": {"metric": "rouge_l", "atMost": 1}}}, "higher: use atLeast"),
    ("ModelDeployment", {"instances": {"min": 3, "max": 2}}, r"min \(3\) is over max \(2\)"),
    ("ModelDeployment", {"function": {"name": "a-b"}}, "not a Snowflake identifier"),
    ("Service", {"minInstances": 2, "maxInstances": 1}, r"minInstances \(2\) is over maxInstances \(1\)"),
    ("Service", {"minReadyInstances": 2}, "is over minInstances"),
    ("Service", {"autoSuspendSeconds": 10}, "0 or at least 300"),
    ("Role", {"privileges": [{"on": "account", "privileges": ["all privileges"]}]}, "ALL is not a privilege"),
    ("Warehouse", {"size": "huge"}, "XSMALL"),
    ("Database", {"dataRetentionDays": 91}, "less than or equal to 90"),
]


@pytest.mark.parametrize(("kind", "spec", "says"), REFUSED, ids=lambda part: part if isinstance(part, str) else None)
def test_what_cannot_be_is_refused(kind: str, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=says):
        manifest(kind, **spec)


SPECIFICATIONS = [
    ("two containers of a name", {"containers": [{"name": "a", "image": "/x"}] * 2}, "two containers are named a"),
    (
        "a mount of nothing",
        {"containers": [{"name": "a", "image": "/x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
        "not under volumes",
    ),
    ("a name in capitals", {"containers": [{"name": "Main", "image": "/x"}]}, "pattern"),
    ("a range without TCP", {"endpoints": [{"name": "e", "portRange": "1-2"}]}, "protocol TCP"),
    ("no port", {"endpoints": [{"name": "e"}]}, "exactly one of port and portRange"),
    ("a public TCP endpoint", {"endpoints": [{"name": "e", "port": 80, "protocol": "TCP", "public": True}]}, "speaks HTTP"),
    ("a stage without its name", {"volumes": [{"name": "v", "source": "stage"}]}, "stageConfig is needed"),
    ("memory without its size", {"volumes": [{"name": "v", "source": "memory"}]}, "size is needed"),
    ("the old form of a stage", {"volumes": [{"name": "v", "source": "@stage"}]}, "'stage'"),
]


@pytest.mark.parametrize(("reason", "spec", "says"), SPECIFICATIONS, ids=lambda part: part if isinstance(part, str) else None)
def test_a_specification_that_cannot_be_is_refused(reason: str, spec: dict[str, Any], says: str) -> None:
    whole = {"spec": {"containers": [{"name": "main", "image": "/a/b/c/d:1"}], **spec}}
    with pytest.raises(pydantic.ValidationError, match=says):
        manifest("Service", specification=whole)


def test_values_of_the_environment_become_text() -> None:
    container = {"name": "main", "image": {"ref": "server"}, "env": {"N": 3, "ON": True, "X": "y"}}
    made = manifest("Service", specification={"spec": {"containers": [container]}})
    assert made.spec.specification.spec.containers[0].env == {"N": "3", "ON": "true", "X": "y"}


def test_gpus_are_the_same_in_requests_and_limits() -> None:
    one = Amounts.model_validate({"nvidia.com/gpu": 1})
    assert Resources(requests=one, limits=one).requests == one
    with pytest.raises(pydantic.ValidationError, match=r"same number of .*; found 1 and None"):
        Resources(requests=one)


@pytest.mark.parametrize(
    ("given", "good"),
    [
        ({"memory": "4Gi"}, True),
        ({"memory": "4"}, False),
        ({"memory": "4GB"}, False),
        ({"cpu": 0.5}, True),
        ({"cpu": "500m"}, True),
        ({"cpu": "two"}, False),
    ],
)
def test_amounts_have_units(given: dict[str, Any], good: bool) -> None:
    try:
        Amounts.model_validate(given)
    except pydantic.ValidationError:
        assert not good
    else:
        assert good


def test_instances_default_to_one() -> None:
    assert (Instances().min, Instances().max) == (1, None)
