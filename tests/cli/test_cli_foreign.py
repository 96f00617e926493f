"""Nothing that a library prints by itself reaches the terminal as it is."""

from __future__ import annotations

import subprocess
import sys

from cli_support import ROOT

BEGIN = """
import logging, sys, threading, time, warnings
from controller.account.redact import redact
from controller.cli.foreign import hush
from controller.reconcile.log import configure
hush()
configure(as_json=True)
redact.learn(["open-sesame"])
"""
DRIVER = """
from controller.account.driver import OperationalError
from snowflake.connector._utils import _TrackedQueryCancellationTimer
def cancel():
    raise OperationalError(msg="the account did not answer")
timer = _TrackedQueryCancellationTimer(0, cancel)
timer.start()
timer.join()
"""


SAID: list[tuple[str, str, str]] = [
    (DRIVER, "", "the driver cancels a statement and does not reach the account: whoever waits for the statement is told"),
    ("logging.getLogger('snowflake.connector.vendored.urllib3').warning('Retrying (Retry(total=0))')", "", "the driver's own noise"),
    ("mine = threading.Thread(target=lambda: 1 / 0)\nmine.start()\nmine.join()", "ZeroDivisionError: division by zero", "our own thread"),
    ("logging.getLogger('lib').warning('pool full, open-sesame')", '"event": "pool full, ****', "a log line of any library"),
    ("try: 1 / 0\nexcept ArithmeticError: logging.getLogger('lib').exception('bad')", '"event": "bad"', "one with a traceback"),
    ("logging.getLogger('lib').log(35, 'odd level')", '"event": "odd level"', "a level between those that we have"),
    ("warnings.warn('soon gone')", '"event": "soon gone"', "a warning of Python"),
    ("class A:\n    def __del__(self): raise OSError('shut')\nA()", "OSError: shut", "a destructor"),
]


def test_what_libraries_print_becomes_one_line_each_or_nothing() -> None:
    code = "\n".join([BEGIN, *(what for what, _, _ in SAID)])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    told = [(says, reason) for _, says, reason in SAID if says]
    assert len(done.stderr.splitlines()) == len(told), done.stderr
    for line, (says, reason) in zip(done.stderr.splitlines(), told, strict=True):
        assert says in line and line.startswith("{"), (reason, line)
    assert not done.stdout and "open-sesame" not in done.stderr


def test_ctrl_c_in_the_midst_of_a_destructor_is_not_lost() -> None:
    code = f"{BEGIN}\nclass A:\n    def __del__(self): raise KeyboardInterrupt\nA()\ntime.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert "KeyboardInterrupt" in done.stderr.splitlines()[-1]
