"""Python programs that start with the imports done: each of them would import for five seconds of a core.

A process that is prepared once imports what the `gridcast` command needs and forks the programs. They are processes of
their own, children of the one that starts them, with their own command line, folder, environment and files. Only
variables that modules read when they are imported must be those of the prepared process: with others, a program starts
from scratch. So does whatever is started through `subprocess`, such as the command in tests/test_wheel.py and
tests/cli/test_commands.py.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from multiprocessing import util
from pathlib import Path
from typing import Any

READ_LATE = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_SERVER_", "_MLFLOW_SERVER_", "GRIDCAST_ADMIN_TOKEN", "PYTEST_CURRENT_TEST"),
    # Set in the test process by MLflow, scikit-learn, and Dask for its workers.
    *("_MLFLOW_TELEMETRY_SESSION_ID", "KMP_", "__DASK_PARENT_PID", "PYTHONHASHSEED"),
)
"""Beginnings of variables that no module reads when it is imported by the prepared process."""
FIRST = "gridcast.sweep.forkserver_preload"
"""Imported before all others; no thread may run, see there."""
IMPORTED = (
    "gridcast.cli",
    "gridcast.reporting.report",
    "gridcast.serving.server",
    "gridcast.serving.models.loading",
    "gridcast.sweep.runner",
    "mlflow.keras",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "pyarrow.parquet",
)
SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux: the calling process becomes the parent of orphans among its descendants."""
MOST_FILES = 64


class Popen(subprocess.Popen):
    """`subprocess.Popen` of `python -m MODULE ...`, `python FILE ...` or `python -c CODE ...`, imports done."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *others: Any) -> None:
        # The positional arguments of `subprocess.Popen._execute_child`, ours and the other end of each pipe.
        names = (
            "close pass cwd env startupinfo flags shell in0 in1 out0 out1 err0 err1 restore gid gids uid mask session"
        )
        options = dict(zip(names.split(), others, strict=False))
        variables = os.environ if options["env"] is None else options["env"]
        prepared = Prepared.here()
        if prepared is None or not prepared.has(variables):
            super()._execute_child(args, executable, preexec_fn, *others)
            return
        assert args[0] == sys.executable
        ends = (options["in0"], options["out1"], options["err1"])
        files = {number: number if end == -1 else end for number, end in enumerate(ends)}
        try:
            self.pid = prepared.fork(args[1:], files, options["cwd"], variables, session=options["session"])
            self._child_created = True
        finally:
            self._close_pipe_fds(*(options[name] for name in ("in0", "in1", "out0", "out1", "err0", "err1")))


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of such a program, its output captured as text."""
    with Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class Prepared:
    """A process that forks programs, at the other end of `connection`.

    `variables` are those it had after its imports, `added` those that it had only then.
    """

    _here: Prepared | None = None

    def __init__(self, connection: socket.socket, variables: Mapping[str, str], added: Mapping[str, str]) -> None:
        self.connection, self.variables, self.added = connection, dict(variables), dict(added)
        self.lock = threading.Lock()

    @classmethod
    def here(cls) -> Prepared | None:
        """The prepared process of this process, which is started if there is none; None where that is impossible."""
        if cls._here is None and sys.platform == "linux":
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, __file__, str(theirs.fileno())]
                # Pipes, as most programs have them: what Python knows of its streams, it learns when it starts.
                pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
                variables = os.environ | {"KERAS_BACKEND": "jax"}
                process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=variables, **pipes)
            atexit.register(process.communicate)
            atexit.register(ours.close)  # before: it ends once nobody is here
            imported, _ = _receive(ours)
            cls._here = cls(ours, imported, _added(imported))
        return cls._here

    def has(self, variables: Mapping[str, str]) -> bool:
        """Whether a program with these environment variables would have imported the same."""
        wanted = {**self.added, **variables}
        names = {name for name in {*wanted, *self.variables} if not name.startswith(READ_LATE)}
        return all(wanted.get(name) == self.variables.get(name) for name in names)

    def fork(
        self,
        words: Sequence[Any],
        files: Mapping[int, int],
        folder: Any = None,
        variables: Mapping[str, str] = os.environ,
        *,
        session: bool = False,
        alone: bool = False,
    ) -> int:
        """Return the id of a new child of this process that does what `python WORDS` does.

        `files` are our file descriptors by its own numbers; `session` makes it the leader of one, and `alone`
        says that it will start no Python of its own.
        """
        place = os.fspath(folder or Path.cwd())
        request = [[os.fspath(word) for word in words], list(files), place, dict(variables), session, alone]
        set_subreaper = ctypes.CDLL(None).prctl
        with self.lock:
            # The program is forked twice and the process between ends, so that the program becomes our child.
            set_subreaper(SUBREAPER, 1, 0, 0, 0)
            try:
                _send(self.connection, request, list(files.values()))
                program, _ = _receive(self.connection)
                _receive(self.connection)
            finally:
                set_subreaper(SUBREAPER, 0, 0, 0, 0)
        return int(program)


def _added(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that are not set here; without KERAS_BACKEND the command chooses JAX by itself."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    return {"KERAS_BACKEND": "jax", **new}


def _send(connection: socket.socket, message: Any, files: Sequence[int] = ()) -> None:
    text = json.dumps(message).encode()
    socket.send_fds(connection, [len(text).to_bytes(8, "big")], files)
    connection.sendall(text)


def _receive(connection: socket.socket) -> tuple[Any, list[int]]:
    """The next message and its files. Raises EOFError once nobody is at the other end."""
    size, files, *_ = socket.recv_fds(connection, 8, MOST_FILES)
    if not size:
        raise EOFError("the process at the other end has ended")
    return json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)), files


_fork_afresh = util.spawnv_passfds


def fork(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
    """What `multiprocessing.util.spawnv_passfds` does: it starts the Pythons of `multiprocessing`."""
    words = list(args)[list(args).index("-c") :]
    prepared = Prepared.here() if "multiprocessing.resource_tracker" not in words[1] else None
    if prepared is None or not prepared.has(os.environ):
        return _fork_afresh(path, args, passfds)
    return prepared.fork(words, {number: number for number in (0, 1, 2, *passfds)}, alone=True)


def _import_all() -> dict[str, str]:
    """Import it all, and return the environment variables that this has set."""
    before = dict(os.environ)
    importlib.import_module(FIRST)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # importing the first changes it
    store = importlib.import_module("gridcast.tracking.store")
    store._import_mlflow()
    for module in IMPORTED:
        importlib.import_module(module)
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def _serve(connection: socket.socket, added: Mapping[str, str]) -> list[str]:
    """Fork a program per request and return its words in it; ends once nobody is at the other end."""
    while True:
        try:
            (words, numbers, folder, variables, session, alone), files = _receive(connection)
        except EOFError:
            os._exit(0)
        between = os.fork()
        if not between:
            if program := os.fork():
                _send(connection, program)
                os._exit(0)
            connection.close()
            _take(files, numbers)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(variables)
            if session:
                os.setsid()
            if not alone:
                _prepare_another(added)
            return words
        os.waitpid(between, 0)
        _send(connection, "its parent is gone")
        for file in files:
            os.close(file)


def _take(files: Sequence[int], numbers: Sequence[int]) -> None:
    """Give received files the numbers that they shall have."""
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, max(numbers) + 1) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(moved, numbers, strict=True):
        os.dup2(file, number, inheritable=number < 3)
        os.close(file)


def _prepare_another(added: Mapping[str, str]) -> None:
    """Fork a prepared process for the workers of this program, before threads run in it; it ends with the program."""
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        jax = {"KERAS_BACKEND": "jax"}
        Prepared._here = Prepared(ours, {**jax, **added, **os.environ}, {**jax, **added})
        util.spawnv_passfds = fork
        return
    ours.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    words = _serve(theirs, added)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _run(words)
    _end(0)


def _run(words: list[str]) -> None:
    """Do what `python WORDS` does."""
    match words:
        case ["-m", module, *rest]:
            sys.argv, sys.path[0] = [module, *rest], str(Path.cwd())
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv, sys.path[0] = ["-c", *rest], ""
            if code.startswith("from multiprocessing.forkserver"):
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # what importing `forkserver_preload` does
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(code, vars(main))
        case [file, *rest]:
            sys.argv, sys.path[0] = [file, *rest], str(Path(file).parent)
            runpy.run_path(file, run_name="__main__")


def _end(code: int) -> None:
    """End as Python does, but for freeing what lives: with all that is imported, that takes a third of a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _main(connection: socket.socket) -> None:
    added = _import_all()
    _send(connection, dict(os.environ))
    gc.collect()
    gc.freeze()
    _run(_serve(connection, added))


if __name__ == "__main__":
    try:
        _main(socket.socket(fileno=int(sys.argv[1])))
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        _end(end.code or 0)
    _end(0)
