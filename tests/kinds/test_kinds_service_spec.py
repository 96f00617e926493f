"""Specifications: what is written is safe in a statement, and what DESCRIBE makes of it compares equal."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.account import statements
from controller.kinds.services import comparison, specification
from controller.kinds.services.kept import kept

WANTED: dict[str, Any] = {
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "/db/sch/repo/web:c-1",
                "env": {"PORT": "8000", "FLAG": "true"},
                "readinessProbe": {"port": 8000, "path": "/healthz"},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "resources": {"requests": {"memory": "1Gi", "cpu": "0.5"}},
                "secrets": [{"snowflakeSecret": {"objectName": "DB.SCH.TOKEN"}, "envVarName": "T", "secretKeyRef": "secret_string"}],
            }
        ],
        "endpoints": [{"name": "api", "port": 8000, "public": True}, {"name": "aux", "port": 1}],
        "volumes": [{"name": "data", "source": "stage", "stageConfig": {"name": "@DB.SCH.ST/folder"}}],
    }
}

# the form of the documented sample: texts quoted, sha256 added, the registry's host, resources filled in, another order
DESCRIBED = """---
spec:
  containers:
  - name: "main"
    image: "org-acct.registry.snowflakecomputing.com/DB/SCH/REPO/web:c-1"
    sha256: "@sha256:0123"
    env:
      FLAG: "true"
      PORT: "8000"
    readinessProbe:
      port: 8000
      path: "/healthz"
      periodSeconds: 5
    volumeMounts:
    - name: "data"
      mountPath: "/data"
    secrets:
    - snowflakeSecret: "db.sch.token"
      envVarName: "T"
      secretKeyRef: "secret_string"
    resources:
      limits:
        memory: "6Gi"
        cpu: "1"
      requests:
        memory: "1024Mi"
        cpu: "500m"
  endpoints:
  - name: "aux"
    port: 1
    protocol: "HTTP"
    public: false
  - name: "api"
    port: 8000
    public: true
  volumes:
  - name: "data"
    source: "stage"
    stageConfig:
      name: "@db.sch.st/folder"

"""


def test_the_documented_form_is_no_difference() -> None:
    assert comparison.differences(WANTED, comparison.parse(DESCRIBED)) == ()


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('PORT: "8000"', 'PORT: "9000"', "specification.spec.containers[0].env.PORT"),
        ("web:c-1", "web:c-2", "specification.spec.containers[0].image"),
        ('FLAG: "true"', 'FLAG: "true"\n      MORE: "x"', "specification.spec.containers[0].env.MORE"),
        ("1024Mi", "2Gi", "specification.spec.containers[0].resources.requests.memory"),
        ("public: true", "public: false", "specification.spec.endpoints[0].public"),
        ("@db.sch.st/folder", "@db.sch.st/other", "specification.spec.volumes[0].stageConfig.name"),
        ("/healthz", "/ready", "specification.spec.containers[0].readinessProbe.path"),
        ("periodSeconds: 5", "periodSeconds: 50", "specification.spec.containers[0].readinessProbe.periodSeconds"),
    ],
)
def test_a_change_by_hand_is_seen_in_its_field(old: str, new: str, path: str) -> None:
    assert old in DESCRIBED
    (change,) = comparison.differences(WANTED, comparison.parse(DESCRIBED.replace(old, new)))
    assert change.path == path


def test_what_the_manifest_leaves_open_is_no_difference() -> None:
    seen = comparison.parse(DESCRIBED)
    seen["spec"]["containers"][0]["resources"]["limits"]["memory"] = "28Gi"
    assert comparison.differences(WANTED, seen) == ()


def test_amounts_compare_by_size() -> None:
    wanted = json.loads(json.dumps(WANTED))
    wanted["spec"]["containers"][0]["resources"]["requests"]["memory"] = "100M"
    seen = comparison.parse(DESCRIBED.replace("1024Mi", "0.0931323Gi"))
    assert comparison.differences(wanted, seen) == ()


def test_the_old_short_form_of_a_stage_volume_is_understood() -> None:
    seen = comparison.parse(DESCRIBED)
    seen["spec"]["volumes"][0] = {"name": "data", "source": '@"DB"."SCH"."ST"/folder'}
    assert comparison.differences(WANTED, seen) == ()


Texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\ue024"), max_size=30) | st.sampled_from(
    ["$$", "a$$b", "$", "a$", "$$$", "\\u0024", "it's", '"q"', "a: b", "- x", "line\nline $$\n", "${x}", "true", "8", "null", "\x85\u2028"]
)


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), Texts, min_size=1))
def test_any_text_survives_the_statement(env: dict[str, str]) -> None:
    document = {"spec": {"containers": [{"name": "main", "image": "/a/b/c/d:e", "env": env}]}}
    text = specification.render(document)
    constant = statements.dollar("\n" + text)
    assert constant.count("$$") == 2, "the constant ends where it should"
    assert yaml.safe_load(text) == document


def test_a_configuration_is_json_without_dollars() -> None:
    text = specification.configuration({"template": "cost {{x}} in $$", "a": [1]})
    assert "$" not in text
    assert json.loads(text) == {"template": "cost {{x}} in $$", "a": [1]}


def test_the_digest_stands_for_the_meaning() -> None:
    other = json.loads(json.dumps(WANTED))
    other["spec"]["endpoints"].reverse()
    assert specification.digest(other) == specification.digest(WANTED)
    other["spec"]["containers"][0]["env"]["PORT"] = "1"
    assert specification.digest(other) != specification.digest(WANTED)


OURS: dict[str, Any] = {
    "spec": {"containers": [{"name": "a", "image": "/d/s/r/a:1"}, {"name": "b", "image": "/d/s/r/b:1", "env": {"X": "1"}, "args": ["one"]}]}
}
THEIRS = {
    "spec": {
        "containers": [
            {"name": "b", "image": "host.com/D/s/r/b:2", "sha256": "@sha256:1", "env": {"X": "2", "Y": "3"}, "args": ["two"]},
            {"name": "a", "image": "host.com/d/s/r/a:1", "sha256": "@sha256:2"},
            {"name": "side", "image": "host.com/d/s/r/side:1"},
        ],
        "endpoints": [{"name": "web", "port": 80}],
    }
}


@pytest.mark.parametrize(
    ("ignored", "place", "value", "reason"),
    [
        ("specification.spec.containers[1].env.X", ("containers", 1, "env"), {"X": "2"}, "one key, of the container of that name"),
        ("specification.spec.containers[1].env.Y", ("containers", 1, "env"), {"X": "1", "Y": "3"}, "a key that only the account has"),
        ("specification.spec.containers[1].env", ("containers", 1, "env"), {"X": "2", "Y": "3"}, "all of them"),
        ("specification.spec.containers[1].args[0]", ("containers", 1, "args"), ["two"], "items without names by their place"),
        ("specification.spec.containers[1].image", ("containers", 1, "image"), "/d/s/r/b:2", "without the registry's host"),
        ("specification.spec.containers[0].args", ("containers", 0), OURS["spec"]["containers"][0], "neither has it"),
        ("specification.spec.containers[side]", ("containers", 2), {"name": "side", "image": "/d/s/r/side:1"}, "a whole item, by its name"),
        ("specification.spec.endpoints", ("endpoints",), [{"name": "web", "port": 80}], "a part that the manifest does not have"),
        ("specification.spec.volumes", ("containers",), OURS["spec"]["containers"], "nothing there, nothing changed"),
        ("maxInstances", ("containers",), OURS["spec"]["containers"], "no part of the specification"),
    ],
)
def test_what_is_ignored_stays_as_the_account_has_it(ignored: str, place: tuple[Any, ...], value: Any, reason: str) -> None:
    found: Any = kept(OURS, THEIRS, [ignored])["spec"]
    for step in place:
        found = found[step]
    assert found == value, reason
    assert "sha256" not in str(kept(OURS, THEIRS, [ignored, "specification.spec.containers"]))


def test_what_somebody_took_out_of_an_ignored_place_stays_out() -> None:
    shown = {"spec": {"containers": [{"name": "b", "image": "/d/s/r/b:1"}]}}
    left = kept(OURS, shown, ["specification.spec.containers[0]", "specification.spec.containers[1].env"])
    assert left == {"spec": {"containers": [{"name": "b", "image": "/d/s/r/b:1", "args": ["one"]}]}}
