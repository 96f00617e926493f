"""Dockerfiles: what is understood, what is refused with a line number, and the one that the project ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.kinds.image import builtin_source
from controller.kinds.images.dockerfile import DockerfileError, parse, substitute
from controller.kinds.images.files import BuildContext, content_hash, plan_image
from controller.kinds.images.ignore_file import IgnoreRules

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in ("main.py", "pkg/a.py", "pkg/sub/b.py", "pkg/__pycache__/a.pyc", "docs/read.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("copy", "files", "reason"),
    [
        ("COPY main.py .", ["app/main.py"], "a dot is the working directory"),
        ("COPY main.py run.py", ["app/run.py"], "a target without a slash is the new name"),
        ("COPY main.py lib/", ["app/lib/main.py"], "a target with a slash is a folder"),
        ("COPY pkg lib", ["app/lib/a.py", "app/lib/sub/b.py"], "a folder's content is copied, not the folder"),
        ("COPY main.py pkg /srv/", ["srv/a.py", "srv/main.py", "srv/sub/b.py"], "several sources"),
        ("COPY *.py ./", ["app/main.py"], "a pattern does not look into folders"),
        ("COPY main.py Gone* ./", ["app/main.py"], "a pattern may match nothing"),
        ('COPY ["main.py", "/a b/"]', ["a b/main.py"], "the JSON form keeps blanks"),
        ("COPY --chown=1000 main.py .", ["app/main.py"], "flags are passed over"),
        ("ARG WHERE=/opt\nCOPY main.py ${WHERE}/", ["opt/main.py"], "variables are replaced"),
        ("ADD main.py .", ["app/main.py"], "ADD of a local file is COPY"),
    ],
)
def test_copy(context: Path, copy: str, files: list[str], reason: str) -> None:
    parsed = parse(f"FROM scratch\nWORKDIR /app\n{copy}\n")
    plan = plan_image(parsed, BuildContext(context, IgnoreRules.parse(["**/__pycache__"])), None, {})
    assert sorted(plan.files) == files, reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no FROM"),
        ("COPY a b\nFROM x", "line 1: COPY stands before the first FROM"),
        ("FROM x\nFORM y", "line 2: unknown instruction FORM"),
        ("FROM x\nCOPY nothing.txt .", "line 2: COPY nothing.txt: no such file"),
        ("FROM x\nCOPY ../secret .", "line 2: COPY ../secret leaves the build context"),
        ("FROM x\nENV A", "line 2: ENV A has no value"),
        ("FROM x\nRUN", "line 2: RUN has no argument"),
        ("FROM x\nCOPY <<EOF /a\nhello\nEOF", "line 2: COPY with a here-document is not supported"),
        ("FROM x y z", "line 1: FROM x y z: expected FROM image"),
    ],
)
def test_refused_with_its_line(context: Path, text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=re.escape(message)):
        plan_image(parse(text), BuildContext(context), None, {})


def test_stages_inherit_and_copy_from_each_other(context: Path) -> None:
    text = """
    ARG BASE=python:3.11
    FROM ${BASE} AS build
    COPY main.py /out/
    RUN make /out/binary
    FROM python:3.11 AS shared
    ENV MODE=fast PATHS="a b"
    ENTRYPOINT ["python"]
    CMD ["-m", "x"]
    FROM shared AS final
    COPY --from=build /out /app
    COPY --from=build /usr/bin/tool /usr/bin/
    ENTRYPOINT ["python", "-u"]
    USER 1000
    EXPOSE 8000
    """
    plan = plan_image(parse(text, {"BASE": "python:3.12"}), BuildContext(context), "final", {"BASE": "python:3.12"})
    assert list(plan.files) == ["app/main.py"]
    assert plan.config.env == {"MODE": "fast", "PATHS": "a b"}
    assert (plan.config.entrypoint, plan.config.command) == (("python", "-u"), ()), "a new ENTRYPOINT clears the CMD of the base stage"
    assert (plan.config.user, plan.config.ports) == ("1000", ("8000/tcp",))
    assert "FROM python:3.12" in plan.instructions, "a build argument reaches FROM"
    assert "COPY --from=build /usr/bin/tool /usr/bin/" in plan.not_executed, "what RUN made elsewhere is not there without an engine"


def test_unknown_target_and_argument_name_the_known_ones(context: Path) -> None:
    parsed = parse("FROM x AS one\nARG A\n")
    with pytest.raises(DockerfileError, match="no stage called 'two'; stages: one"):
        plan_image(parsed, BuildContext(context), "two", {})
    with pytest.raises(DockerfileError, match="no ARG declares the build argument 'B'; declared: A"):
        plan_image(parsed, BuildContext(context), None, {"B": "1"})


@pytest.mark.parametrize(
    ("text", "value"),
    [("$A/x", "1/x"), ("${A}", "1"), ("${B:-d}", "d"), ("${A:+on}", "on"), ("${B:+on}", ""), ("\\$A", "$A"), ("${E-d}", ""), ("$B", "")],
)
def test_variables(text: str, value: str) -> None:
    assert substitute(text, {"A": "1", "E": ""}) == value


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        (["*.md"], "read.md", True),
        (["*.md"], "docs/read.md", False),
        (["**/*.md"], "docs/read.md", True),
        (["docs"], "docs/read.md", True),
        (["docs", "!docs/keep.md"], "docs/keep.md", False),
        (["# note", "", "/docs/"], "docs/a", True),
        (["a?.py"], "ab.py", True),
        (["[ab].py"], "c.py", False),
    ],
)
def test_ignore_patterns(patterns: list[str], path: str, ignored: bool) -> None:
    assert IgnoreRules.parse(patterns).ignores(path) is ignored


def test_comments_continuations_and_heredocs() -> None:
    text = 'FROM x\nRUN a && \\\n  # why\n  b\nRUN <<END\necho "FROM y"\nEND\nCMD echo hi\n'
    (stage,) = parse(text).stages
    assert [item.name for item in stage.instructions] == ["RUN", "RUN", "CMD"]
    assert stage.instructions[0].text == "a && b"
    assert stage.instructions[2].command == ("/bin/sh", "-c", "echo hi")


# ---- the project's own Dockerfile ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["controller", "trainer", "server", "workspace"])
def test_our_images_have_their_sources(target: str) -> None:
    plan = builtin_source(target, {}, "linux/amd64").plan()
    assert any(path.startswith("app/training/") for path in plan.files)
    assert plan.config.working_dir == "/app"
    assert plan.config.env["PYTHONPATH"] == "/app"
    assert plan.config.entrypoint[0] == "python"
    assert plan.config.user not in ("", "root", "0"), "no image runs as root"
    assert not [path for path in plan.files if "__pycache__" in path or path.endswith((".pyc", ".pem", ".p8"))]
    if "-m" in plan.config.entrypoint:
        module = plan.config.entrypoint[plan.config.entrypoint.index("-m") + 1]
        assert f"app/{module.replace('.', '/')}.py" in plan.files


def test_our_dockerfile_holds_no_credential() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    assert not re.search(r"(?i)(password|token|secret|api_?key)\s*=\s*\S", text)
    assert "connection.json" not in text


def test_a_changed_file_changes_the_tag_and_nothing_else_does(context: Path) -> None:
    def tag() -> str:
        return content_hash(plan_image(parse("FROM x\nRUN y\nCOPY pkg /p\n"), BuildContext(context), None, {}))

    first = tag()
    (context / "main.py").write_text("not copied")
    (context / "pkg" / "a.py").touch()
    assert tag() == first
    (context / "pkg" / "a.py").write_text("other")
    second = tag()
    assert second != first
    (context / "pkg" / "a.py").chmod(0o755)
    assert tag() not in (first, second), "the mode counts"
