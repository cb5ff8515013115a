"""Programs that start with the imports done behave as others do."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import warm_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere programs start from scratch")
ABOUT = """
import json, os, signal, sys
imported = "gridcast.sweep.runner" in sys.modules
parts = [os.getpid(), os.getppid(), os.getcwd(), sys.argv, os.environ.get("GRIDCAST_X"), os.getsid(0) == os.getpid()]
print(json.dumps([imported, *parts, sys.stdin.read(), signal.getsignal(signal.SIGINT) is signal.default_int_handler]))
"""
WAITS = "import time; print('here', flush=True); time.sleep(100)"


@pytest.fixture
def prepared():
    """The variables of the prepared process: other tests may have left other ones here."""
    return warm_python.Prepared.here().variables


def test_a_program_has_its_own_command_line_folder_variables_files_and_session(tmp_path, prepared):
    (tmp_path / "in").write_text("content")
    variables = prepared | {"MLFLOW_TRACKING_URI": "x"}
    with (tmp_path / "in").open() as content:
        command = [sys.executable, "-c", ABOUT, "one", "two"]
        options = {"stdin": content, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
        with warm_python.Popen(command, cwd=tmp_path, env=variables, **options) as process:
            found = json.load(process.stdout)
    assert process.returncode == 0
    assert found[0]
    assert found[1] == process.pid
    assert found[3:] == [str(tmp_path), ["-c", "one", "two"], None, True, "content", True]


@pytest.mark.parametrize(
    ("code", "ended", "said"),
    [("raise SystemExit(3)", 3, ""), ("1 / 0", 1, "ZeroDivisionError"), ("import os; os.kill(os.getpid(), 9)", -9, "")],
)
def test_its_end_is_that_of_any_process(code, ended, said):
    done = warm_python.run([sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (ended, "")
    assert said in done.stderr


def test_it_is_a_child_that_signals_reach():
    with warm_python.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate()[1]
    assert process.returncode == -signal.SIGINT
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, 0)  # it is gone


def test_a_variable_that_is_read_at_import_makes_it_start_from_scratch():
    variables = os.environ | {"GRIDCAST_X": "1", "JAX_ENABLE_X64": "1"}
    done = warm_python.run([sys.executable, "-c", ABOUT], env=variables, stdin=subprocess.DEVNULL)
    imported, *_, variable, _, _, _ = json.loads(done.stdout)
    assert (imported, variable) == (False, "1")


WORKS = """
import multiprocessing, os, sys, time
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["gridcast.sweep.forkserver_preload"])
workers = [context.Process(target=time.sleep, args=(seconds,)) for seconds in (0, 100)]
for worker in workers:
    worker.start()
workers[0].join()
print(os.getpid(), workers[0].exitcode, workers[1].pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_its_workers_are_forked_from_its_own_child(tmp_path, prepared):
    path = tmp_path / "out"
    with path.open("w") as out:
        command = [sys.executable, "-c", WORKS]
        process = warm_python.Popen(command, env=prepared, stdout=out, stderr=out)
        assert process.wait() == -signal.SIGKILL, path.read_text()
    program, code, worker = map(int, path.read_text().split())
    alive = psutil.Process(worker)
    assert (program, code) == (process.pid, 0)
    assert "warm_python.py" in " ".join(alive.parent().cmdline())
    alive.kill()
