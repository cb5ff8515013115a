"""Bash scripts whose `gridcast`, `python` and `mlflow` are programs with the imports done, see `warm_python`.

In a folder `bin` before all others on the path lies a small program under each of these names. It sends its words, its
folder and its files to this process, which forks the real program from the prepared one, and waits for its exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import warm_python

SENDER = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as session:
    session.connect({address!r})
    words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
    text = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(session, [len(text).to_bytes(8, "big")], [0, 1, 2])
    session.sendall(text)
    sys.exit(int(session.recv(8) or b"1"))
"""
MAKE = """#!/bin/sh
exec {make} --no-print-directory -f {root}/Makefile -o .venv/.run -o .venv/.test BIN={folder} "$@"
"""
WITHOUT_FIGURES = (
    "import sys; sys.argv[0] = 'gridcast'; from gridcast.reporting import report; "
    "report.draw_figures = lambda *_: {}; from gridcast import cli; cli.main()"
)
"""The command; drawing takes longer than a small sweep."""
PROGRAMS = {"gridcast": ("-c", WITHOUT_FIGURES), "mlflow": ("-m", "mlflow"), "python": ()}
PASSED_ON = ("MLFLOW_TRACKING_URI", "GRIDCAST_ADMIN_TOKEN", "KERAS_BACKEND")
START = (
    "set -euo pipefail\ntrap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\ntrap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n"
)


@contextlib.contextmanager
def shell_session(folder: Path, root: Path) -> Iterator[Path]:
    """Answer the programs in the new `folder`, which it yields, to put before the path."""
    folder.mkdir(parents=True)
    address = str(folder / "socket")
    for name in PROGRAMS:
        _write(folder / name, SENDER.format(python=sys.executable, address=address))
    _write(folder / "make", MAKE.format(make="/usr/bin/make", root=root, folder=folder))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        threading.Thread(target=_answer_all, args=[listening], daemon=True).start()
        yield folder
        listening.shutdown(socket.SHUT_RDWR)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run_script(text: str, folder: Path, programs: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a Bash script in `folder`; it ends with the first command that fails, and its jobs end with it."""
    variables = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "PYTHONPATH")}
    path = f"{programs}{os.pathsep}{variables['PATH']}"
    command = ["bash", "-c", START + text]
    return subprocess.run(
        command,
        cwd=folder,
        env=variables | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def _answer_all(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_answer, args=[connection], daemon=True).start()


def _answer(connection: socket.socket) -> None:
    """Fork one program, and send its exit code; end it when nobody waits for it any more."""
    prepared = warm_python.Prepared.here()
    assert prepared is not None
    with connection:
        size, files, *_ = socket.recv_fds(connection, 8, 3)
        words, folder, variables = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        passed_on = {name: variables[name] for name in PASSED_ON if name in variables}
        kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        program = [*PROGRAMS[words[0]], *words[1:]]
        process = prepared.fork(program, dict(enumerate(files)), folder, kept | passed_on)
        for file in files:
            os.close(file)
        ended = os.pidfd_open(process)
        try:
            ready, _, _ = select.select([ended, connection], [], [])
            if ended not in ready:
                os.kill(process, signal.SIGTERM)
            _, status = os.waitpid(process, 0)
        finally:
            os.close(ended)
        with contextlib.suppress(OSError):
            connection.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
