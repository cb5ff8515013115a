"""Real servers for the tests: MLflow's tracking server, PostgreSQL and a web hook."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, TypeVar

import warm_python

T = TypeVar("T")
PYTHON = Path(sys.executable)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free at present."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait(ready: Callable[[], T], seconds: float, what: str) -> T:
    """Return the first true result of `ready()`. Raises TimeoutError with the text `what`."""
    deadline = time.monotonic() + seconds
    while not (result := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {seconds:.0f} s")
        time.sleep(0.05)
    return result


def end(process: subprocess.Popen) -> None:
    """SIGKILL `process` and all other processes of the session that it leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class MlflowServer:
    """`mlflow server` over one store: SQLite in `folder`, or the database at `backend_uri`.

    Artifacts go through the server and lie in `folder` too, so that clients do not need the file system of
    its machine. `prefix` is a command that runs commands elsewhere, such as `ip netns exec NAME`; `host`
    must be an address of the server there that this process can reach.
    """

    popen: type[subprocess.Popen] = subprocess.Popen
    """How its process is started."""

    def __init__(
        self,
        folder: Path,
        backend_uri: str | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder, self.host, self.port, self.prefix = folder, host, port or free_port(), tuple(prefix)
        folder.mkdir(parents=True, exist_ok=True)
        self.backend_uri = backend_uri or f"sqlite:///{folder}/mlflow.db"
        self.uri = f"http://{host}:{self.port}"
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> MlflowServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server, or start it again over the same store, and wait until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the server without waiting for it."""
        command, settings = self.command()
        inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        with self.log.open("a") as log:
            self.process = self.popen(
                [*self.prefix, *command],
                cwd=self.folder,
                env=inherited | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return the command that serves, and its environment variables."""
        command = [str(PYTHON.with_name("mlflow")), "server", "--host", self.host, "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.backend_uri]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts")]
        return command, {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def wait(self, seconds: float = 90) -> None:
        """Return once the server answers. Raises TimeoutError or RuntimeError with the end of its log."""
        try:
            wait(self.healthy, seconds, f"{self.uri} did not answer")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {self.log.read_text()[-2000:]}") from None

    def healthy(self) -> bool:
        """Whether the server answers. Raises RuntimeError with the end of its log if its process has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"the MLflow server has ended: {self.log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL the server and its children; the store stays as it is."""
        if self.process is not None:
            end(self.process)
            self.process = None

    @property
    def log(self) -> Path:
        """Output of the server."""
        return self.folder / "server.log"


class PreparedServer(MlflowServer):
    """The same over a store that has its tables: the child of `mlflow server` alone, whose parent imports MLflow too.

    The parent creates the tables, hands these variables on and waits for its child.
    """

    popen = warm_python.Popen

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return the command that `mlflow server` runs, and the variables that it sets."""
        _, settings = super().command()
        settings |= {
            "_MLFLOW_SERVER_FILE_STORE": self.backend_uri,
            "_MLFLOW_SERVER_REGISTRY_STORE": self.backend_uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.folder / "artifacts"),
        }
        command = [str(PYTHON), "-m", "uvicorn", "--host", self.host, "--port", str(self.port), "--workers", "1"]
        return [*command, "mlflow.server.fastapi_app:app"], settings


class Unavailable(Exception):
    """The reason why this machine cannot run a server; tests that need it are skipped."""


@functools.cache
def postgres_folder() -> Path:
    """Return the folder of PostgreSQL's programs, installed first if that is permitted. Raises Unavailable."""
    if not any(importlib.util.find_spec(driver) for driver in ("psycopg", "psycopg2")):
        raise Unavailable("PostgreSQL: its Python driver is not installed (psycopg)")
    if not (paths := _initdbs()):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Unavailable("PostgreSQL is not installed, and only root with apt-get could change that")
        _install()
        if not (paths := _initdbs()):
            raise Unavailable("PostgreSQL is not installed, and apt-get could not install it")
    if os.geteuid() == 0 and not shutil.which("runuser"):
        raise Unavailable("PostgreSQL does not run as root, and there is no runuser to become another user")
    return paths[-1].parent


def _initdbs() -> list[Path]:
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    onpath = [Path(name) for name in [shutil.which("initdb")] if name]
    return [*onpath, *sorted(installed, key=lambda path: int(path.parts[-3]))]


def _install() -> None:
    """Install PostgreSQL with apt-get; give up after two minutes."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with contextlib.suppress(subprocess.SubprocessError):
        for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "postgresql"]):
            subprocess.run(["apt-get", *arguments], env=quiet, capture_output=True, timeout=60, check=True)


@contextlib.contextmanager
def postgres(host: str = "127.0.0.1", prefix: Sequence[str] = ()) -> Iterator[str]:
    """Yield the URI of an empty database on a new PostgreSQL, which ends with the block. Raises Unavailable.

    `prefix` and `host` as in `MlflowServer`.
    """
    programs = postgres_folder()
    # PostgreSQL refuses to run as root, and its user may not read the folders of pytest.
    as_user = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
    run = functools.partial(subprocess.run, cwd="/", check=True, capture_output=True, text=True)
    folder = Path(run([*as_user, "mktemp", "-d", "/tmp/gridcast-postgres-XXXXXX"]).stdout.strip())
    data, port = folder / "data", free_port()
    settings = f"-c listen_addresses={host} -p {port} -c unix_socket_directories={folder} -c fsync=off"
    control = [*prefix, *as_user, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    try:
        run([*as_user, str(programs / "initdb"), "-D", str(data), "-U", "gridcast", "-A", "trust", "-E", "UTF8"])
        # With its output in a pipe, pg_ctl would seem to run as long as the server does.
        start = [*control, "-l", str(folder / "log"), "-o", settings, "start"]
        run(start, capture_output=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield f"postgresql+{_driver()}://gridcast@{host}:{port}/postgres"
    finally:
        run([*control, "-m", "immediate", "stop"], check=False)
        run([*as_user, "rm", "-rf", str(folder)], check=False)


def _driver() -> str:
    return "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"


class Post:
    """A web hook on this machine, as a context manager; `got` holds what was sent to its `url`, decoded from JSON."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Post:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
