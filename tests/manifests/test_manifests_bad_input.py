"""Everything that can be wrong with the user's files, one row each: where it is found, what is said, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from manifests_bad import POOL, STAGE, load, pool, service


def secret(body: str) -> str:
    return "apiVersion: snowcat/v1\nkind: Secret\nmetadata: {name: token, schema: db.s}\nspec:\n" + body


@dataclass(frozen=True)
class Row:
    reason: str
    text: str | bytes
    line: int
    field: str
    says: str
    advises: str = ""


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))

ROWS = [
    Row(
        "an unknown kind",
        pool().replace("ComputePool", "ComputePoll"),
        2,
        "kind",
        "unknown kind 'ComputePoll'",
        "did you mean ComputePool?",
    ),
    Row("a kind that is missing", "apiVersion: snowcat/v1\nmetadata: {name: x}\n", 1, "", "kind is missing", "known kinds: Role"),
    Row("an unknown field", pool(extra="  maxNods: 3\n"), 6, "spec.maxNods", "unknown field 'maxNods'", "did you mean maxNodes?"),
    Row("snake case is not a field's name", pool(extra="  max_nodes: 3\n"), 6, "spec.max_nodes", "unknown field", "did you mean maxNodes?"),
    Row("a wrong type", pool(extra="  minNodes: two\n"), 6, "spec.minNodes", "expected a whole number, got 'two'"),
    Row("a list where text belongs", pool(extra="  comment: [a]\n"), 6, "spec.comment", "expected text, got a list"),
    Row("a number where text belongs", pool(extra="  comment: 1.0\n"), 6, "spec.comment", "expected text, got 1.0", "put it in quotes"),
    Row(
        "a missing value",
        pool().replace("  instanceFamily: cpu_x64_xs\n", "  minNodes: 1\n"),
        4,
        "spec.instanceFamily",
        "a value is missing",
    ),
    Row("more nodes than any integer holds", pool(extra=f"  maxNodes: {10**26 - 1}\n"), 6, "spec.maxNodes", "must be at most 2147483647"),
    Row(
        "a stage's file outside of the project",
        STAGE.replace("spec: {}", "spec: {files: [{from: ../../../../../../../etc/passwd}]}"),
        4,
        "spec.files[0].from",
        "'../../../../../../../etc/passwd' leaves the project's folder",
        "move it below",
    ),
    Row(
        "a stage's file by its full path",
        STAGE.replace("spec: {}", "spec: {files: [{from: /etc/passwd}]}"),
        4,
        "spec.files[0].from",
        "leaves the project's folder",
    ),
    Row("min over max", pool(extra="  minNodes: 3\n  maxNodes: 2\n"), 7, "spec.maxNodes", "minNodes (3) is over maxNodes (2)"),
    Row("min over the default max", pool(extra="  minNodes: 3\n"), 4, "spec", "minNodes (3) is over maxNodes (1, the default)"),
    Row("a name declared twice", pool() + "---\n" + pool(), 3, "metadata.name", "ComputePool/pool is declared twice"),
    Row("a name that differs only in case", pool() + "---\n" + pool("POOL"), 3, "metadata.name", "declared twice", "differ only in case"),
    Row("a key that stands twice", pool(extra="  minNodes: 1\n  minNodes: 2\n"), 7, "minNodes", "the key stands twice, first in line 6"),
    Row(
        "a reference to nothing",
        STAGE + "---\n" + service("      containers: [{name: m, image: /a/b/c/d:1}]\n").replace("Pool: pool", "Pool: poll"),
        16,
        "spec.computePool",
        "there is no ComputePool 'poll'",
        "did you mean pool?",
    ),
    Row(
        "a schema that nobody declared",
        STAGE.replace("db.s}", "db.other}"),
        3,
        "metadata.schema",
        "there is no Schema db.other",
        "existing",
    ),
    Row("no schema at all", STAGE.replace(", schema: db.s", ""), 3, "metadata.schema", "a Stage needs metadata.schema"),
    Row(
        "a schema where there is none",
        pool().replace("NAME", "p").replace("pool}", "pool, schema: db.s}"),
        3,
        "metadata.schema",
        "lives in the account",
    ),
    Row(
        "a cycle",
        pool("a").replace("{name: a}", "{name: a, dependsOn: [ComputePool/b]}")
        + "---\n"
        + pool("b").replace("{name: b}", "{name: b, dependsOn: [ComputePool/a]}"),
        3,
        "metadata.dependsOn",
        "objects wait for each other: ComputePool/",
    ),
    Row(
        "a dependency on itself",
        pool().replace("pool}", "pool, dependsOn: [ComputePool/pool]}"),
        3,
        "metadata.dependsOn[0]",
        "ComputePool/pool depends on itself",
        "remove this entry",
    ),
    Row(
        "a dependency that is no Kind/name",
        pool().replace("pool}", "pool, dependsOn: [x]}"),
        3,
        "metadata.dependsOn[0]",
        "'x' is not Kind/name",
    ),
    Row("a binary file", b"\x7fELF\x02\x01\x00\x00\xff\xfe\x80", 1, "", "is it a binary file?"),
    Row("a NUL byte in text", "apiVersion: snowcat/v1\nkind: \x00\n", 2, "", "control character"),
    Row("UTF-16", "kind: x".encode("utf-16"), 1, "", "UTF-16", "save it as UTF-8"),
    Row("tabs", "apiVersion: snowcat/v1\nkind: ComputePool\nmetadata:\n\tname: pool\n", 4, "", "a tab stands", "indent with spaces"),
    Row("an open bracket", "apiVersion: [snowcat/v1\nkind: ComputePool\n", 2, "", "this is not YAML"),
    Row("a colon in plain text", "apiVersion: snowcat/v1\nkind: a: b\n", 2, "", "this is not YAML", "quotes"),
    Row(
        "a merge that is not finished",
        POOL + "<<<<<<< HEAD\n  minNodes: 1\n=======\n  minNodes: 2\n>>>>>>> more-nodes\n",
        6,
        "",
        "'<<<<<<<' marks a merge that is not finished",
        "remove git's markers",
    ),
    Row("a part of a merge that was left", POOL + "=======\n  minNodes: 2\n", 6, "", "'=======' marks a merge that is not finished"),
    Row("5 MB of YAML", "# x\n" * 1_310_720, 1, "", "the file has 5.0 MiB", "split it"),
    Row("an alias bomb", BOMB, 5, "", "unfolds to more than", "write the values out"),
    Row("an alias within its own anchor", "a: &a [1, *a]\n", 1, "", "within its own anchor"),
    Row("an alias of nothing", "a: *b\n", 1, "", "no anchor of its name", "quote text"),
    Row("a tag of one's own", "a: !b c\n", 1, "", "'!' begins a tag", "quote text"),
    Row(
        "a value in braces without quotes",
        POOL + "  instanceFamilies: {a: ${family}}\n",
        6,
        "",
        "did not find expected",
        '"${…}" in quotes',
    ),
    Row(
        "a Python tag",
        "apiVersion: !!python/object/apply:os.system ['true']\n",
        1,
        "",
        "the tag !!python/object/apply:os.system is not allowed",
    ),
    Row("a thousand levels", "[" * 1000 + "]" * 1000, 1, "", "levels deep"),
    Row("a name with a dash", pool("my-pool"), 3, "metadata.name", "'my-pool' is not a Snowflake identifier", ""),
    Row("a name with a digit first", pool("1pool"), 3, "metadata.name", "try '_1pool'"),
    Row("a reserved word for a pool", pool("table"), 3, "metadata.name", "'table' is a reserved word of SQL", "such as 'table_1'"),
    Row(
        "a service in a schema called by a reserved word",
        service("      containers: [{name: m, image: /a/b/c/d:1}]\n").replace("schema: db.s}", "schema: db.order}"),
        9,
        "metadata.schema",
        "'order' is a reserved word of SQL",
    ),
    Row("a name of 256 letters", pool("p" * 256), 3, "metadata.name", "'pppppppppppppppppppp'… has 256 characters", "at most 255"),
    Row("a quoted name for a pool", pool("'\"my pool\"'"), 3, "metadata.name", "Snowflake takes only an unquoted name for a ComputePool"),
    Row(
        "a name with its schema", STAGE.replace("files", "db.s.files"), 3, "metadata.name", "not a Snowflake identifier", "metadata.schema"
    ),
    Row(
        "a secret's value in its manifest",
        secret("  value: hunter2hunter2\n"),
        5,
        "spec.value",
        "a secret stands here in plain text",
        "valueFrom",
    ),
    Row(
        "a token in a container's environment",
        service("      containers:\n        - {name: m, image: /a/b/c/d:1, env: {HF_TOKEN: abcdefghijkl}}\n"),
        15,
        "spec.specification.spec.containers[0].env.HF_TOKEN",
        "a secret stands here in plain text",
        "valueFrom",
    ),
    Row(
        "a token anywhere, by its shape",
        pool(extra="  comment: use hf_abcdefghijklmnopqrstuvwxyz1234\n"),
        6,
        "spec.comment",
        "a secret stands here",
    ),
    Row("a password where there is no such field", pool(extra="  password: hunter2\n"), 6, "spec.password", "a secret stands here"),
    Row("no apiVersion", "services:\n  web: {image: nginx}\n", 1, "", "this is not a Snowcat manifest: apiVersion is missing"),
    Row("another apiVersion", pool().replace("snowcat/v1", "apps/v1"), 1, "apiVersion", "unknown apiVersion 'apps/v1'", "reads snowcat/v1"),
    Row("a list for a document", "- a\n- b\n", 1, "", "expected a manifest"),
    Row("a second project file", pool().replace("ComputePool", "Project"), 2, "kind", "kind Project belongs into snowcat.yaml"),
    Row(
        "a value that is not defined",
        pool(extra="  comment: ${nope}\n"),
        6,
        "spec.comment",
        "the value ${nope} is not defined",
        "family, nodes",
    ),
    Row("a misspelt value", pool(extra="  minNodes: ${node}\n"), 6, "spec.minNodes", "${node} is not defined", "did you mean nodes?"),
    Row("a shell expression", pool(extra="  comment: ${A%.txt}\n"), 6, "spec.comment", "is not ${name}", "write $${"),
    Row(
        "an instance family of the preview",
        pool().replace("cpu_x64_xs", "GPU_7"),
        5,
        "spec.instanceFamily",
        "GPU_7 is a name of the 2024 preview; today's is GPU_NV_M",
    ),
    Row(
        "container:, as in the preview",
        service("      container: [{name: m}]\n"),
        14,
        "spec.specification.spec.container",
        "unknown field 'container'",
        "today's name is containers",
    ),
    Row(
        "endpoint:, as in the preview",
        service("      containers: [{name: m, image: /a/b/c/d:1}]\n      endpoint: []\n"),
        15,
        "spec.specification.spec.endpoint",
        "unknown field",
        "today's name is endpoints",
    ),
    Row(
        "volume:, as in the preview",
        service("      containers: [{name: m, image: /a/b/c/d:1}]\n      volume: []\n"),
        15,
        "spec.specification.spec.volume",
        "unknown field",
        "today's name is volumes",
    ),
    Row(
        "a file that is not there",
        STAGE.replace("spec: {}", "spec:\n  files:\n    - {from: nothing/*.txt}"),
        6,
        "spec.files[0].from",
        "no file matches 'nothing/*.txt'",
    ),
    Row(
        "two ways at once",
        secret("  valueFrom: {env: A, file: b}\n"),
        5,
        "spec.valueFrom",
        "exactly one of env, file, command is needed; found env and file",
    ),
    Row(
        "an unknown choice",
        STAGE.replace("{}", "{encryption: none}"),
        4,
        "spec.encryption",
        "expected SNOWFLAKE_SSE or SNOWFLAKE_FULL, got 'none'",
    ),
    Row(
        "a field to ignore that does not exist",
        pool().replace("pool}", "pool, ignore: [spec.maxNode]}"),
        3,
        "metadata.ignore[0]",
        "is no field",
        "did you mean maxNodes?",
    ),
    Row("a name that is a number", pool("123"), 3, "metadata.name", "expected text, got 123", "try '_123'"),
    Row("a reference that is a number", STAGE.replace("db.s", "12"), 3, "metadata.schema", "expected text, got 12", "try '_12'"),
    Row(
        "one shape of several with a misspelt field",
        "apiVersion: snowcat/v1\nkind: Role\nmetadata: {name: r}\nspec:\n  privileges: [{on: {kind: Stage, nme: s}, privileges: [READ]}]\n",
        5,
        "spec.privileges[0].on.nme",
        "unknown field 'nme'",
        "did you mean name?",
    ),
    Row(
        "one shape of several with a field missing",
        "apiVersion: snowcat/v1\nkind: Role\nmetadata: {name: r}\nspec:\n  privileges: [{on: {kind: Stage}, privileges: [READ]}]\n",
        5,
        "spec.privileges[0].on.name",
        "a value is missing",
    ),
    Row(
        "GRANT ALL",
        "apiVersion: snowcat/v1\nkind: Role\nmetadata: {name: r}\nspec:\n  privileges:\n    - {on: account, privileges: [ALL]}\n",
        6,
        "spec.privileges[0].privileges",
        "ALL is not a privilege",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.reason)
def test_each_fault_is_named_with_its_place_and_a_way_out(row: Row, tmp_path: Path) -> None:
    result = load(tmp_path, row.text)
    assert result.errors, row.reason
    first = result.errors[0]
    assert (first.location.file, first.location.line, first.field) == (tmp_path / "objects.yaml", row.line, row.field), str(first)
    assert row.says in first.message or row.says in str(first)
    assert row.advises in str(first)
    assert str(first).startswith(f"{tmp_path / 'objects.yaml'}:{row.line}: ")
    assert not result.complete


@pytest.mark.parametrize("row", [row for row in ROWS if "secret" in row.says or "secret" in row.reason], ids=lambda row: row.reason)
def test_a_secret_is_never_repeated_in_a_message(row: Row, tmp_path: Path) -> None:
    text = "\n".join(str(problem) for problem in load(tmp_path, row.text).problems)
    for value in ("hunter2", "abcdefghijkl"):
        assert value not in text


SHAPES = [
    "spec: hunter2",
    "spec: [hunter2]",
    "spec: {valueFrom: hunter2}",
    "spec: {valueFrom: [hunter2]}",
    "spec: {valueFrom: {hunter2}}",
    "spec: {valueFrom: {hunter2: yes}}",
    "spec: {hunter2}",
    "spec: {valueFrom: {evn: hunter2}}",
    "spec: {valueFrom: {env: [hunter2]}}",
    "spec: {valueFrom: {env: {a: hunter2}}}",
    "spec: {valueFrom: {command: hunter2}}",
    "spec: {valueFrom: {command: [{a: hunter2}]}}",
    "spec: {valueFrom: {env: A, optional: hunter2}}",
    "spec: {valueFrom: {env: A}, type: hunter2}",
    "spec: {valueFrom: {env: A}, type: password, username: [hunter2]}",
    "spec: {valueFrom: {env: A}, oauthScopes: hunter2}",
    "spec: {valueFrom: {env: A}, oauthScopes: ['hunter2,']}",
    "spec: {valueFrom: {env: A}, apiAuthentication: hunter2-x}",
    "spec: {valueFrom: {env: A}, comment: [hunter2]}",
    "spec: {value: [hunter2]}",
    "spec: {anything: {value: hunter2}}",
    "spec: {valueFrom: *hunter2}",
    "spec: {valueFrom: !hunter2 x}",
    "spec: {valueFrom: '${hunter2 x}'}",
    "spec: 4711",
    "spec: 47.11",
    "spec: {valueFrom: 4711}",
    "spec: {valueFrom: {env: 4711}}",
    "spec: {valueFrom: {env: A}, apiAuthentication: 4711}",
    "spec: {valueFrom: {env: A, optional: 4711}}",
    "spec: {value: 4711}",
]


@pytest.mark.parametrize("spec", SHAPES)
def test_no_shape_of_a_secret_repeats_what_stands_in_it(spec: str, tmp_path: Path) -> None:
    result = load(tmp_path, f"apiVersion: snowcat/v1\nkind: Secret\nmetadata: {{name: token, schema: db.s}}\n{spec}\n")
    text = "\n".join(f"{problem!r} {problem}" for problem in result.problems)
    assert result.errors
    assert not [value for value in ("hunter2", "4711", "47.11") if value in text], text


@pytest.mark.parametrize("field", ["password: 4711", "token: [4711]", "valueFrom: hunter2"])
def test_a_field_that_is_called_like_a_secret_is_not_repeated_in_any_kind(field: str, tmp_path: Path) -> None:
    containers = f"      containers: [{{name: m, image: /a/b/c/d:1, {field}}}]\n"
    for written in (service(containers), pool(extra=f"  {field}\n")):
        result = load(tmp_path, written)
        text = "\n".join(f"{problem!r} {problem}" for problem in result.problems)
        assert result.errors
        assert not [value for value in ("hunter2", "4711") if value in text], text


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("command: op read hunter2", "expected a list, got text that is not repeated here; write it as a list: [op, read, op://…]"),
        ("command: [op, false]", "expected text, got true or false that is not repeated here; put it in quotes"),
        ("env: 4711", "expected text, got a number that is not repeated here; Name of an environment variable"),
    ],
)
def test_a_value_of_a_wrong_shape_in_value_from_is_not_told_to_go_there(field: str, says: str, tmp_path: Path) -> None:
    text = "\n".join(str(problem) for problem in load(tmp_path, secret(f"  valueFrom: {{{field}}}\n")).problems)
    assert says in text and "make a Secret" not in text


def test_a_secret_still_says_which_word_was_meant(tmp_path: Path) -> None:
    text = "\n".join(str(problem) for problem in load(tmp_path, secret("  type: pasword\n  valueFrom: {evn: A}\n")).problems)
    assert "did you mean password?" in text
    assert "unknown field 'evn'; did you mean env?" in text
