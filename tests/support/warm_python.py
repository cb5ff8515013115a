"""Python programs as processes of their own that start with the imports done: each would import for 5 seconds.

One process per test process imports what the `gridcast` command needs (see `_import_all`) and forks the programs. A
program is a child of the test process, with its own command line, folder, environment, files and session; a variable
that is read at import and differs from those of the prepared process makes it start from scratch.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from multiprocessing import util
from typing import Any

READ_LATE = ("MLFLOW_TRACKING_URI", "PYTEST_CURRENT_TEST", "NPROC", "GRIDCAST_ADMIN_TOKEN")
"""Variables that no module reads when it is imported."""
FORKSERVER = "from multiprocessing.forkserver import main; main("
"""Begins the code of the process from which Python forks processes."""
SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux: the calling process becomes the parent of orphans among its descendants."""


class Popen(subprocess.Popen):
    """`subprocess.Popen` of `python -m MODULE ...`, `python FILE ...` or `python -c CODE ...`, imports done."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *others: Any) -> None:
        names = "close pass cwd env startupinfo flags shell in0 in1 out0 out1 err0 err1 restore gid gids uid mask session"
        options = dict(zip(names.split(), others, strict=False))
        environment = dict(os.environ if options["env"] is None else options["env"])
        words = [os.fspath(word) for word in args]
        if not _is_like_prepared(environment):
            super()._execute_child(args, executable, preexec_fn, *others)
            return
        assert words[0] == sys.executable
        request = [words[1:], os.fspath(options["cwd"] or os.getcwd()), environment, bool(options["session"])]
        ends = [options["in0"], options["out1"], options["err1"]]
        files = [number if end == -1 else end for number, end in enumerate(ends)]
        try:
            self.pid = _prepared().fork(request, files)
            self._child_created = True
        finally:
            self._close_pipe_fds(*(options[name] for name in ("in0", "in1", "out0", "out1", "err0", "err1")))


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of such a program, its output captured as text."""
    with Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class _Prepared:
    """The process that forks the programs of this test process."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self.socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            # Pipes, as most programs have them: what Python knows of its streams, it learns when it starts.
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            self.process = subprocess.Popen(command, text=True, pass_fds=[theirs.fileno()], **pipes)
        atexit.register(self.socket.close)

    def fork(self, request: list[Any], files: list[int]) -> int:
        text = json.dumps(request).encode()
        # The program is forked twice and the one between ends, so that the program becomes a child of this process.
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self.socket, [len(text).to_bytes(8, "big")], files)
            self.socket.sendall(text)
            program = self.socket.recv(8)
            if not self.socket.recv(1):
                raise RuntimeError(f"the prepared process has ended: {self.process.communicate()[1]}")
            return int.from_bytes(program, "big")
        finally:
            ctypes.CDLL(None).prctl(SUBREAPER, 0, 0, 0, 0)


PREPARED: list[_Prepared] = []


def _prepared() -> _Prepared:
    if not PREPARED:
        PREPARED.append(_Prepared())
    return PREPARED[0]


def _is_like_prepared(environment: dict[str, str]) -> bool:
    if sys.platform != "linux":
        return False
    theirs = _prepared().environment
    different = {name for name in environment.keys() | theirs if environment.get(name) != theirs.get(name)}
    # Without KERAS_BACKEND the command chooses JAX by itself.
    return different <= {*READ_LATE, *([] if "KERAS_BACKEND" in environment else ["KERAS_BACKEND"])}


def _import_all() -> None:
    """The order matters, and no thread may run, see `gridcast.sweep.forkserver_preload`."""
    from gridcast.sweep import forkserver_preload

    signal.signal(signal.SIGINT, signal.default_int_handler)
    import gridcast.cli.doctor
    import gridcast.reporting.report
    import gridcast.serving.server
    import gridcast.sweep.runner
    import mlflow.keras
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store
    import pyarrow.parquet


def _serve(connection: socket.socket) -> list[str]:
    """Fork a program per request; return its command line in the program, exit once the test process has ended."""
    while True:
        size, files, *_ = socket.recv_fds(connection, 8, 3)
        if not size:
            sys.exit()
        words, folder, environment, session = json.loads(
            connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        )
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            connection.sendall(b".")
            for file in files:
                os.close(file)
            continue
        program = os.fork()
        if program:
            connection.sendall(program.to_bytes(8, "big"))
            os._exit(0)
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        if session:
            os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        _prepare_forkserver()
        return words


def _prepare_forkserver() -> None:
    """Fork the process from which this program would fork workers; it ends with the program if none are wanted.

    It cannot be forked later, when threads run, and started from scratch it would import everything again.
    """
    start, (ours, theirs) = util.spawnv_passfds, socket.socketpair()
    if waiting := os.fork():
        theirs.close()

        def fork(path: bytes, args: list[str], passfds: list[int]) -> int:
            if not args[-1].startswith(FORKSERVER):
                return start(path, args, passfds)
            socket.send_fds(ours, [json.dumps([args[-1], dict(os.environ)]).encode()], passfds)
            ours.close()
            util.spawnv_passfds = start
            return waiting

        util.spawnv_passfds = fork
        return
    ours.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    message, files, *_ = socket.recv_fds(theirs, 2**20, 2)
    if message:
        command, environment = json.loads(message)
        os.environ.update(environment)
        preload = command.split(",", 2)[2]
        exec(f"{FORKSERVER}{files[0]}, {files[1]},{preload}", {})
    os._exit(0)


def _run(words: list[str]) -> None:
    """What `python WORDS` does."""
    match words:
        case ["-m", module, *rest]:
            sys.argv, sys.path[0] = [module, *rest], os.getcwd()
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv, sys.path[0] = ["-c", *rest], ""
            exec(code, {"__name__": "__main__"})
        case [file, *rest]:
            sys.argv, sys.path[0] = [file, *rest], os.path.dirname(file)
            runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    _import_all()
    gc.collect()
    gc.freeze()
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
