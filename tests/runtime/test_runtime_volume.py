"""Stage volumes read, write back, and refuse what a stage mount refuses; the other kinds are directories."""

from __future__ import annotations

import json
from pathlib import Path

from runtime_support import Sql, spec, until

_MOUNT = json.dumps(
    {
        "volumes": [
            {"name": "stage", "source": "stage", "stageConfig": {"name": "@st/volume"}},
            {"name": "scratch", "source": "local"},
            {"name": "fast", "source": "memory", "size": "1Gi"},
        ],
        "container.volumeMounts": [
            {"name": "stage", "mountPath": "/data/stage"},
            {"name": "scratch", "mountPath": "/data/scratch"},
            {"name": "fast", "mountPath": "/data/fast"},
        ],
    }
)


def _run(sql: Sql, name: str, code: str) -> str:
    """Runs the code with the volumes; /data/stage in its arguments is where the volume is, in either isolation mode."""
    text = spec("tool:1", command=["python", "-c", "import sys; root = sys.argv[1]\n" + code, "/data/stage"], extra=_MOUNT)
    sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ NAME = {name} ASYNC = TRUE")
    until(lambda: sql.service(name)["status"] in ("DONE", "FAILED"))
    return sql.logs(name)


def _listed(sql: Sql) -> set[str]:
    return {row["name"].partition("/")[2] for row in sql("LIST @st/volume")}


def test_files_go_in_and_come_back(sql: Sql, tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("given")
    sql(f"PUT file://{tmp_path}/given.txt @st/volume/in AUTO_COMPRESS = FALSE")
    code = (
        "import os\n"
        "print(open(root + '/in/given.txt').read())\n"
        "os.makedirs(root + '/out/deep')\n"
        "open(root + '/out/deep/a.txt', 'w').write('first')\n"
        "open(root + '/out/deep/a.txt', 'w').write('written twice')\n"
        "os.remove(root + '/in/given.txt')"
    )
    assert _run(sql, "copying", code) == "given\n"
    assert sql.service("copying")["status"] == "DONE"
    assert _listed(sql) == {"volume/out/deep/a.txt"}, "what the job wrote is there when it is DONE, what it removed is gone"
    sql(f"GET @st/volume/out/deep/a.txt file://{tmp_path}")
    assert (tmp_path / "a.txt").read_text() == "written twice"
    sql("REMOVE @st/volume")


def test_written_file_is_listed_while_the_container_runs(sql: Sql) -> None:
    code = "import time; open(root + '/early.txt', 'w').write('x'); time.sleep(600)"
    text = spec("tool:1", command=["python", "-c", "import sys; root = sys.argv[1]\n" + code, "/data/stage"], extra=_MOUNT)
    sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool FROM SPECIFICATION $${text}$$ NAME = early ASYNC = TRUE")
    until(lambda: "volume/early.txt" in _listed(sql))
    assert sql.service("early")["status"] == "RUNNING"
    sql("CALL early!SPCS_CANCEL_JOB()")
    sql.wait("early", "CANCELLED")
    sql("REMOVE @st/volume")


def test_rename_append_and_random_write_are_refused(sql: Sql) -> None:
    code = (
        "import os\n"
        "open(root + '/kept.txt', 'w').write('kept')\n"
        "for what in (lambda: os.rename(root + '/kept.txt', root + '/moved.txt'),\n"
        "             lambda: open(root + '/kept.txt', 'a').write('more'),\n"
        "             lambda: open(root + '/kept.txt', 'r+').write('m')):\n"
        "    try:\n"
        "        what(); print('allowed')\n"
        "    except OSError as error:\n"
        "        print(error.strerror)"
    )
    logs = _run(sql, "refused", code)
    assert logs.count("Operation not supported") == 3
    assert "allowed" not in logs
    for how in ("rename of", "append to", "random write into"):
        assert f"snowcat: {how}" in logs
    assert _listed(sql) == {"volume/kept.txt"}
    sql("REMOVE @st/volume")


def test_whole_folders_can_be_removed_and_made_again(sql: Sql, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    for folder in ("gone", "again"):
        sql(f"PUT file://{tmp_path}/old.txt @st/volume/{folder}/deep AUTO_COMPRESS = FALSE")
    code = (
        "import os, shutil\n"
        "shutil.rmtree(root + '/gone')\n"
        "shutil.rmtree(root + '/again')\n"
        "os.makedirs(root + '/again')\n"
        "open(root + '/again/new.txt', 'w').write('new')"
    )
    _run(sql, "folders", code)
    assert sql.service("folders")["status"] == "DONE", sql.diagnosis("folders")
    assert _listed(sql) == {"volume/again/new.txt"}
    sql("REMOVE @st/volume")


def test_local_and_memory_volumes_take_everything(sql: Sql) -> None:
    code = (
        "import os\n"
        "for name in ('scratch', 'fast'):\n"
        "    folder = root.removesuffix('stage') + name\n"
        "    open(folder + '/a', 'w').write('a')\n"
        "    open(folder + '/a', 'a').write('b')\n"
        "    os.rename(folder + '/a', folder + '/b')\n"
        "    print(open(folder + '/b').read())"
    )
    assert _run(sql, "loose", code) == "ab\nab\n"
