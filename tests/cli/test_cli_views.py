"""What people look at: lines, the live tree, log windows, words, URLs. No account, no clock."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from controller.api.names import QualifiedName
from controller.api.objects import Location, ObjectKey
from controller.cli.apply import verdict
from controller.cli.browse import ready_host
from controller.cli.errors import Failure
from controller.cli.live import LiveView, PlainView, tree
from controller.cli.logs import news, readable
from controller.cli.objects import describe_lines
from controller.cli.words import kind_named, one_key, targeted
from controller.kinds.base import Health
from controller.reconcile.events import Event
from controller.reconcile.report import Condition, ObjectStatus, Report, Sync


def key(kind: str, name: str) -> ObjectKey:
    return ObjectKey(kind, QualifiedName.parse(name))


def status(kind: str, name: str, health: Health = Health.HEALTHY, **more: object) -> ObjectStatus:
    ready = Condition("Ready", str(health is Health.HEALTHY), "", "", 1)
    return ObjectStatus(key(kind, name), Sync.SYNCED, health, conditions=(ready,), **more)  # type: ignore[arg-type]


POOL, SERVICE = key("ComputePool", "pool"), key("Service", "db.s.web")


def test_plain_lines_are_written_once_for_each_change() -> None:
    lines: list[str] = []
    ticks = itertools.count()
    show = PlainView(lines.append, lambda: float(next(ticks)))
    starting = status("ComputePool", "pool", Health.PROGRESSING, message="starting")
    for report in (Report("p", (starting,)), Report("p", (starting,)), Report("p", (status("ComputePool", "pool"),)), Report("p", ())):
        show(report)
    assert [line.split("] ")[1] for line in lines] == [
        "ComputePool/pool Synced Progressing starting",
        "ComputePool/pool Synced Healthy",
        "ComputePool/pool gone",
    ]


@pytest.mark.parametrize("width", [80, 110, 160])
def test_the_message_of_a_running_job_is_never_cut(width: int) -> None:
    message = "training step 9 of 16, loss 0.41, 1 min 10 s left"
    job = status("FineTuneJob", "db.s.toy_wishes", Health.PROGRESSING, progress=0.56, message=message)
    long = status("ExternalAccessIntegration", "a_name_that_is_longer_than_most", message="as the manifest says")
    console = Console(file=io.StringIO(), width=width, height=40)
    console.print(tree(Report("p", (long, job)), 61.0, 40, width))
    said = "".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    for word in message.split():
        assert word in said


def test_a_line_of_what_stands_for_several_comes_when_one_of_them_is_there() -> None:
    lines: list[str] = []
    show = PlainView(lines.append)

    def both(made: Health, action: str, message: str) -> Report:
        parent = status("ModelDeployment", "db.s.llama", made, children=(SERVICE,), message=message)
        return Report("p", (status("Service", "db.s.web", made, parent=parent.key, action=action), parent))

    show(both(Health.MISSING, "create", "will serve 1"))
    assert lines == []
    show(both(Health.PROGRESSING, "", "will serve 1"))
    show(both(Health.HEALTHY, "", "serves 1"))
    assert [line.split("] ")[1] for line in lines if "llama" in line] == [
        "ModelDeployment/llama Synced Progressing will serve 1",
        "ModelDeployment/llama Synced Healthy serves 1",
    ]


def test_plain_lines_of_a_job_come_in_tenths() -> None:
    lines: list[str] = []
    show = PlainView(lines.append)
    for step in range(100):
        job = status("FineTuneJob", "db.s.j", Health.PROGRESSING, progress=step / 100, message=f"step {step} of 100, loss 1.2, 3 min left")
        show(Report("p", (job,)))
    assert len(lines) == 10
    assert lines[3].endswith("FineTuneJob/j Synced Progressing 30% step 30 of 100, loss 1.2, 3 min left")


def test_plain_lines_say_a_problem_once_until_it_is_gone() -> None:
    lines: list[str] = []
    show = PlainView(lines.append)
    for problems, error in (((), ""), (("a.yaml:1: bad",), ""), (("a.yaml:1: bad",), "no answer"), ((), ""), (("a.yaml:1: bad",), "")):
        show(Report("p", problems=problems, error=error))
    assert [line.split("] ")[1] for line in lines] == ["a.yaml:1: bad", "account: no answer", "a.yaml:1: bad"]


def drawn(report: Report, width: int = 120, height: int = 40) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=False)
    view = LiveView(console)
    view._report = report
    console.print(view)
    return stream.getvalue()


def test_the_tree_shows_parts_below_their_object_and_a_bar() -> None:
    deployment = status("ModelDeployment", "db.s.llama", Health.PROGRESSING, children=(SERVICE,), message="starting")
    service = status("Service", "db.s.web", Health.DEGRADED, parent=deployment.key, message="container main:\nexit code 1")
    job = status("FineTuneJob", "db.s.j", Health.PROGRESSING, progress=0.5, message="loss 0.91, 2 min left")
    text = drawn(Report("p", (service, deployment, job, status("ComputePool", "pool")), problems=("a.yaml:3: bad",)))
    lines = text.splitlines()
    assert (
        lines.index(next(x for x in lines if "└ Service/web" in x))
        == lines.index(next(x for x in lines if "ModelDeployment/llama" in x)) + 1
    )
    assert "container main: exit code 1" in text
    assert "━" in next(line for line in lines if "FineTuneJob/j" in line)
    assert "loss 0.91, 2 min left" in text
    assert "a.yaml:3: bad" in text
    assert "1 of 4 ready" in lines[-1]


def test_a_tree_that_is_too_tall_keeps_what_is_not_ready() -> None:
    pools = [status("ComputePool", f"p{n}") for n in range(50)]
    text = drawn(Report("p", (*pools, status("ComputePool", "broken", Health.DEGRADED))), height=20)
    assert "ComputePool/broken" in text
    assert "50 not shown" in text
    assert len(text.splitlines()) <= 20


@pytest.mark.parametrize(
    ("reason", "before", "now", "fresh"),
    [
        ("nothing new", ["a", "b"], ["a", "b"], []),
        ("lines were added", ["a", "b"], ["a", "b", "c"], ["c"]),
        ("the window moved", ["a", "b", "c"], ["b", "c", "d"], ["d"]),
        ("the window reaches further back", ["c"], ["a", "b", "c", "d"], ["d"]),
        ("a new container", ["a", "b"], ["x", "y"], ["x", "y"]),
        ("nothing before", [], ["a"], ["a"]),
        ("equal lines", ["x", "x"], ["x", "x", "x"], ["x"]),
    ],
)
def test_following_a_log_prints_what_is_new(reason: str, before: list[str], now: list[str], fresh: list[str]) -> None:
    assert news(before, now) == fresh, reason


PROGRESS = "SNOWCAT_PROGRESS "


@pytest.mark.parametrize(
    ("reason", "line", "shown"),
    [
        ("a step", PROGRESS + '{"phase": "train", "step": 9, "steps": 16, "loss": 0.41259}', "train: step 9 of 16, loss 0.4126"),
        ("a message", PROGRESS + '{"phase": "failed", "message": "no column x"}', "failed: no column x"),
        ("nothing but a phase", PROGRESS + '{"phase": "load"}', "load"),
        ("cut off", PROGRESS + '{"phase": "lo', PROGRESS + '{"phase": "lo'),
        ("no mapping", PROGRESS + "[1]", PROGRESS + "[1]"),
        ("any other line", "epoch {1}", "epoch {1}"),
    ],
)
def test_progress_in_a_log_is_readable(reason: str, line: str, shown: str) -> None:
    assert readable(line) == shown, reason


WAITING = "Endpoints provisioning in progress... check back in a few minutes"


@pytest.mark.parametrize(
    ("reason", "rows", "endpoint", "host"),
    [
        ("still a sentence", [{"name": "api", "is_public": "true", "ingress_url": WAITING}], None, None),
        ("nothing yet", [{"name": "api", "is_public": "true", "ingress_url": None}], None, None),
        ("a host", [{"name": "api", "is_public": "true", "ingress_url": "abc.app"}], None, "abc.app"),
        (
            "the one that was asked for",
            [{"name": n, "is_public": "true", "ingress_url": f"{n}.app"} for n in ("api", "ui")],
            "UI",
            "ui.app",
        ),
        (
            "private ones do not count",
            [{"name": "db", "is_public": "false"}, {"name": "ui", "is_public": "true", "ingress_url": "u.app"}],
            None,
            "u.app",
        ),
    ],
)
def test_the_url_of_an_endpoint(reason: str, rows: list[dict[str, object]], endpoint: str | None, host: str | None) -> None:
    assert ready_host(rows, endpoint, "Service/x") == host, reason


def test_an_endpoint_that_is_not_public() -> None:
    with pytest.raises(Failure, match="Service/x has no public endpoint 'db'; public ones: none"):
        ready_host([{"name": "db", "is_public": "false"}], "db", "Service/x")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("computepool", "ComputePool"),
        ("ComputePools", "ComputePool"),
        ("repositories", None),
        ("ImageRepositories", "ImageRepository"),
        ("x", None),
    ],
)
def test_kinds_by_any_spelling(word: str, kind: str | None) -> None:
    assert kind_named(word) == kind


def test_a_folder_of_a_kinds_name_is_reached_by_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stage").mkdir()
    monkeypatch.chdir(tmp_path)
    assert targeted(["stage"], None, False, None, None).kinds == {"Stage"}
    assert targeted(["./stage"], None, False, None, None).target.folder == Path("stage")


def test_one_object_of_several_schemas_must_be_said_exactly() -> None:
    keys = [key("Stage", "db.a.files"), key("Stage", "db.b.files")]
    assert one_key("stage/b.files", keys) == keys[1]
    with pytest.raises(Failure, match=r"may be any of DB.A.FILES, DB.B.FILES"):
        one_key("Stage/files", keys)


def test_a_name_alone_will_do_when_only_one_object_has_it() -> None:
    keys = [key("Workspace", "db.a.lab"), key("Stage", "db.a.files"), key("Service", "db.a.web"), key("Image", "db.a.web")]
    assert one_key("lab", keys) == keys[0]
    with pytest.raises(Failure, match=r"'lab' is not KIND/NAME; did you mean Workspace/lab\?"):
        one_key("lab", keys, exact=True)  # for what drops
    with pytest.raises(Failure, match=r"web may be any of Service/web, Image/web: write KIND/NAME"):
        one_key("web", keys)
    with pytest.raises(Failure, match=r"'labb' is not KIND/NAME; did you mean Workspace/lab\?"):
        one_key("labb", keys)
    with pytest.raises(Failure, match=r"'image' is a kind and names no object; write Image/web"):
        one_key("image", keys)


def test_columns_of_a_description_never_run_together() -> None:
    moment = datetime.now(UTC) - timedelta(days=123, hours=10)
    long = Condition("ContainersRunning", "Unknown", "AReasonLongerThanItsColumn", "why", 1, moment)
    event = Event(moment, moment, "Stage/s", "Normal", "ReconcileRequested", "a look was asked for", 3)
    lines = list(describe_lines(replace(status("Stage", "s"), conditions=(long,)), None, [event]))
    assert "  ContainersRunning  Unknown  AReasonLongerThanItsColumn  123d10h ago   why" in lines
    assert lines[-1] == "  123d10h ago   Normal   ReconcileRequested  a look was asked for (×3)"


@pytest.mark.parametrize(
    ("because", "report", "code", "last"),
    [
        (
            "the account refuses an object: its manifest is named",
            Report(
                "p", (status("Stage", "a", Health.MISSING, message="no right", location=Location(Path.cwd() / "x.yaml", 7)),), settled=True
            ),
            1,
            "Stage/a (x.yaml:7) is Synced, Missing: no right",
        ),
        ("many", Report("p", (status("Stage", "a"), status("Stage", "b")), settled=True), 0, "all 2 objects are ready"),
        ("one", Report("p", (status("Stage", "a"),), settled=True), 0, "the only object is ready"),
        (
            "a broken file",
            Report("p", (status("Stage", "a"), status("Stage", "b", Health.DEGRADED)), problems=("b.yaml:1: no",), settled=True),
            2,
            "1 ready; 1 problem in files, none of its objects is made or dropped",
        ),
        (
            "two broken files",
            Report("p", (status("Stage", "a"),), problems=("b.yaml:1: no", "c.yaml:1: no"), settled=True),
            2,
            "1 ready; 2 problems in files, none of their objects is made or dropped",
        ),
        (
            "a file with its last good text",
            Report("p", (status("Stage", "a", Health.MISSING),), problems=("b.yaml:1: no",), notes=("b.yaml: as it was",), settled=True),
            2,
            "0 ready; 1 problem in files, none of its objects is made or dropped",
        ),
    ],
)
def test_how_apply_ends(because: str, report: Report, code: int, last: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(report, None) == code, because
    said = capsys.readouterr()
    assert (said.out + said.err).splitlines()[-1] == last, because


def test_runs_of_a_sweep_stand_in_a_table() -> None:
    runs = [{"run": "aa11", "rank": 8, "state": "finished", "loss": 0.5}, {"run": "bb22", "rank": 16, "state": "running"}]
    lines = list(describe_lines(replace(status("FineTuneJob", "s"), observed={"runs": runs, "names": ["a", "b"]}), None, []))
    at = lines.index("  runs:")
    assert lines[at + 1 : at + 4] == ["    run   rank  state     loss", "    aa11  8     finished  0.5", "    bb22  16    running"]
    assert "  names: a, b" in lines


def test_an_estimate_has_a_line_for_each_part() -> None:
    lines = list(describe_lines(replace(status("FineTuneJob", "s"), observed={"estimate": {"hours": 1.5, "memory": {"gpu": 7}}}), None, []))
    at = lines.index("  estimate:")
    assert lines[at + 1 : at + 4] == ["    hours: 1.5", "    memory:", "      gpu: 7"]
