"""`gridcast serve` against `mlflow models serve`: the same model, the same window, the same machine.

    .venv/bin/python benchmarks/serving.py [--seconds S] [--repeats N] [--peers NAME ...] [--soak MINUTES]

A small sweep is recorded by an MLflow server of its own, from which both services load the champion; MLflow's on
either backend of Keras. gridcast made that model so that it answers quickly: beside it the network is logged as
MLflow's own Keras flavour does, as in a loop written by hand, and served alone (`network_alone.py`): the client
scales. All must give the same forecast. Then each in turn is asked for the forecast of one window, by one client and
by sixteen, which are in a process of their own (`load.py`), and gridcast gets half of what it could take, by the
clock. `--soak` holds a load for so many minutes, while the champion changes twenty times and the tracking server is
killed once and comes back. Prints a table and writes benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import math
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import load
import measure
from mlflow import MlflowClient
from peers import windows

import sweep
from gridcast import config
from gridcast.sweep import plan

HERE = Path(__file__).parent.absolute()
EXPERIMENT, NAME = HERE / "grids" / "serving.yaml", "serving"
OURS, ALONE = "gridcast", "network alone"
TITLES = {
    OURS: "gridcast serve",
    "tensorflow": "mlflow models serve, TensorFlow",
    "jax": "mlflow models serve, JAX",
    ALONE: "mlflow models serve, Keras flavour",
}
CLIENTS, SWAPS, READY = 16, 20, 600
SOAKED = 200.0
SAME = 1e-4
"""Relative difference that rounding may make between two forecasts of one window."""


@dataclass(frozen=True)
class Service:
    """A service under load: what is asked of it, and the process that it runs in."""

    name: str
    url: str
    body: str
    headers: dict[str, str]
    pid: int
    read: Callable[[Any], float]

    def forecast(self) -> float:
        """The one forecast of its answer, in data units."""
        return float(self.read(call(self.url, self.body, self.headers)))

    def load(self, seconds: float, **job: Any) -> subprocess.Popen[str]:
        """A process that puts a load on it, see `load.Job`."""
        command = [sys.executable, str(HERE / "load.py")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        given = load.Job(self.url, self.body, seconds, self.headers, **job)
        assert process.stdin is not None
        process.stdin.write(json.dumps(dataclasses.asdict(given)))
        process.stdin.close()
        process.stdin = None
        return process

    def under(self, seconds: float, **job: Any) -> load.Result:
        """What came of that load."""
        return ended(self.load(seconds, **job))


def ended(process: subprocess.Popen[str]) -> load.Result:
    """What a process of `Service.load` found."""
    told, _ = process.communicate()
    if process.returncode:
        sys.exit(f"load.py ended with {process.returncode}")
    return load.Result(**json.loads(told))


class Server:
    """A server at a free port, in a process group of its own; what it says goes to `folder`/`name`.log.

    `command` is given the port, `path` answers once it is ready.
    """

    def __init__(self, name: str, command: list[str], path: str, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [*command, "--port", str(self.port)]
        self.path, self.folder, self.log = path, folder, folder / f"{name}.log"
        # MLflow starts programs of this environment by their names.
        found = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": found, "MLFLOW_DISABLE_TELEMETRY": "true"} | environment

    def __enter__(self) -> Server:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + READY
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                sys.exit(f"{' '.join(self.command)}\ndoes not answer: {self.log.read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def answers(self) -> bool:
        """Whether it does."""
        try:
            with urllib.request.urlopen(f"{self.url}{self.path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> None:
    """Measure what the command line asks for."""
    arguments = _arguments()
    told: dict[str, Any] = {
        "experiment": EXPERIMENT.read_text(encoding="utf-8"),
        "machine": sweep.machine(),
        "versions": environments.versions(Path(sys.executable)),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": arguments.seconds,
        "measurements": [],
    }
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name, contextlib.ExitStack() as stack:
        folder, rows = Path(name), window()
        record = ["mlflow", "server", "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        record += ["--artifacts-destination", str(folder / "artifacts")]
        tracking = stack.enter_context(Server("tracking", record, "/health", folder))
        versions = trained(folder, tracking.url)
        services = [
            stack.enter_context(started(which, rows, folder, tracking.url)) for which in (OURS, *arguments.peers)
        ]
        same(services)
        ours = services[0]
        for repeat in range(1, arguments.repeats + 1):
            for service in services:
                alone = service.under(arguments.seconds)
                crowd = service.under(arguments.seconds, clients=CLIENTS)
                loads = {"alone": dataclasses.asdict(alone), "crowd": dataclasses.asdict(crowd)}
                told["measurements"].append({"service": service.name, "repeat": repeat, **loads})
                print(
                    f"  {repeat}  {TITLES[service.name]:<38}{alone.median_ms:9.2f} ms{crowd.per_second:9.1f} a second",
                    flush=True,
                )
        told["summary"] = summary(told["measurements"])
        rate = told["summary"][OURS]["per_second"] / 2
        told["half"] = {"rate": rate, **dataclasses.asdict(ours.under(arguments.seconds, rate=rate))}
        if arguments.soak:
            told["soak"] = soak(ours, tracking, versions, 60 * arguments.soak, min(rate, SOAKED))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "serving.json").write_text(json.dumps(told, indent=1) + "\n")
    print(table(told))


def trained(folder: Path, uri: str) -> list[str]:
    """Train the two runs of the experiment; the versions of its model, that of the champion first."""
    shutil.copytree(windows.DATA, folder / "data")
    shutil.copy(EXPERIMENT, folder)
    command = [str(Path(sys.executable).with_name("gridcast")), "run", EXPERIMENT.name]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"MLFLOW_TRACKING_URI": uri}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    client = MlflowClient(uri)
    champion = client.get_model_version_by_alias(NAME, "champion")
    experiment = client.get_experiment_by_name(NAME).experiment_id
    runs = client.search_runs([experiment], "tags.`gridcast.kind` = 'run'")
    other = next(run for run in runs if run.info.run_id != champion.run_id)
    model = client.get_logged_model(other.outputs.model_outputs[0].model_id)
    challenger = client.create_model_version(NAME, model.model_uri, other.info.run_id, model_id=model.model_id)
    return [str(champion.version), str(challenger.version)]


@contextlib.contextmanager
def started(name: str, rows: list[dict[str, Any]], folder: Path, uri: str) -> Iterator[Service]:
    """The service `name`, ready to be asked for the step after `rows`."""
    environment = {"MLFLOW_TRACKING_URI": uri}
    body: dict[str, Any]
    if name == OURS:
        token = secrets.token_hex(32)
        command = ["gridcast", "serve", NAME, "--rate", "0"]
        with Server(name, command, "/", folder, GRIDCAST_ADMIN_TOKEN=token, **environment) as server:
            asked = {"name": "benchmark", "expires_in_days": 1, "scopes": ["predict"]}
            made = call(f"{server.url}/generate_api_key", json.dumps(asked), {"X-Admin-Token": token})
            history = [{"time": row["date"], "value": row["quantity"], "unit_price": row["unit_price"]} for row in rows]
            body = {"model": NAME, "horizon": 1, "series": [{"id": rows[0]["product"], "history": history}]}
            headers = {"X-API-Key": made["api_key"]}
            yield Service(name, f"{server.url}/predict", json.dumps(body), headers, server.process.pid, _value)
        return
    model, body, read = f"models:/{NAME}@champion", {"dataframe_records": rows, "params": {"horizon": 1}}, _forecast
    environment["KERAS_BACKEND"] = "jax" if name == "jax" else "tensorflow"
    if name == ALONE:
        told = logged(rows, folder, environment)
        model, body = told["uri"], {"inputs": told["inputs"]}
        read = functools.partial(_unscaled, told["offset"], told["scale"])
    command = ["mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"]
    with Server(name, command, "/ping", folder, **environment) as server:
        yield Service(name, f"{server.url}/invocations", json.dumps(body), {}, server.process.pid, read)


def logged(rows: list[dict[str, Any]], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What `network_alone.py` tells of the champion's network, logged by the Keras flavour."""
    command = [sys.executable, str(HERE / "network_alone.py"), NAME]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return dict(json.loads(done.stdout))


def _value(answer: Any) -> float:
    return float(answer["forecasts"][0]["points"][0]["value"])


def _forecast(answer: Any) -> float:
    return float(answer["predictions"][0]["forecast"])


def _unscaled(offset: float, scale: float, answer: Any) -> float:
    return math.expm1(answer["predictions"][0][0] * scale + offset)


def window() -> list[dict[str, Any]]:
    """The rows that a forecast of one step needs: the last window of the first series."""
    experiment = config.read(EXPERIMENT)
    panel = plan.make_plan(experiment, "", "jax", windows.DATA).panel
    last = slice(-experiment.window.lookback, None)
    return [
        {"date": str(time)[:10], "product": panel.series[0], "quantity": value, "unit_price": price}
        for time, value, price in zip(
            panel.times[last], panel.target[0, last].tolist(), panel.past[0, last, 0].tolist(), strict=True
        )
    ]


def same(services: list[Service]) -> None:
    """End with a message unless all give one forecast."""
    found = {TITLES[service.name]: service.forecast() for service in services}
    if max(found.values()) - min(found.values()) > SAME * abs(max(found.values())):
        sys.exit(f"not the same model: {found}")


def soak(service: Service, tracking: Server, versions: list[str], seconds: float, rate: float) -> dict[str, Any]:
    """The load `rate` for so long, in equal parts: a new champion in each, but for one without a tracking server.

    Tells what came of the load, after how many seconds each champion answered, and the megabytes of the
    service at the end of each part.
    """
    client, parts, middle = MlflowClient(tracking.url), SWAPS + 1, SWAPS // 2
    part, begun = seconds / parts, time.monotonic()
    loading = service.load(seconds, rate=rate, told="version")
    waited, megabytes, champion = [], [], 0
    for number in range(parts):
        end = begun + (number + 1) * part
        if number == middle:
            tracking.__exit__()
            time.sleep(part / 2)
            tracking.__enter__()
        else:
            champion = 1 - champion
            client.set_registered_model_alias(NAME, "champion", versions[champion])
            moved = time.monotonic()
            while time.monotonic() < end:
                if answering(service) == versions[champion]:
                    waited.append(time.monotonic() - moved)
                    break
                time.sleep(0.1)
        time.sleep(max(0.0, end - time.monotonic()))
        megabytes.append(measure.megabytes(service.pid))
    return {"rate": rate, **dataclasses.asdict(ended(loading)), "swap_seconds": waited, "megabytes": megabytes}


def answering(service: Service) -> str | None:
    """The version that answers; None where there is no answer, which the load counts."""
    with contextlib.suppress(OSError):
        return str(asked(service.url, service.body, service.headers)["version"])
    return None


def summary(measurements: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By service, medians over the repeats; how many times gridcast is as fast in the same repeat, with extremes."""
    found: dict[str, dict[str, Any]] = {}
    by = {(row["service"], row["repeat"]): row for row in measurements}
    for name in dict.fromkeys(row["service"] for row in measurements):
        own = [row for row in measurements if row["service"] == name]
        found[name] = {
            "median_ms": statistics.median(row["alone"]["median_ms"] for row in own),
            "p99_ms": statistics.median(row["alone"]["p99_ms"] for row in own),
            "per_second": statistics.median(row["crowd"]["per_second"] for row in own),
            "failed": sum(sum(row[kind]["failed"].values()) for row in own for kind in ("alone", "crowd")),
        }
        pairs = [(row, by[OURS, row["repeat"]]) for row in own]
        sooner = [row["alone"]["median_ms"] / ours["alone"]["median_ms"] for row, ours in pairs]
        # A crowd may get no answer at all.
        more = [ours["crowd"]["per_second"] / (row["crowd"]["per_second"] or math.nan) for row, ours in pairs]
        for measured, ratios in (("sooner", sooner), ("more", more)):
            found[name][measured] = [statistics.median(ratios), min(ratios), max(ratios)]
    return found


def table(told: dict[str, Any]) -> str:
    """What was found, as aligned text and sentences."""
    lines = [("service", "median ms", "p99 ms", "times", f"{CLIENTS} clients, 1/s", "times", "failed")]
    for name, row in told["summary"].items():
        ratios = [f"{row[measured][0]:.1f}" for measured in ("sooner", "more")]
        times = f"{row['median_ms']:.2f}", f"{row['p99_ms']:.2f}", ratios[0], f"{row['per_second']:.1f}", ratios[1]
        lines.append((TITLES[name], *times, str(row["failed"])))
    half = told["half"]
    notes = [
        "Medians over the repeats. Times: how many times as long as gridcast, and how many times less.",
        f"gridcast at {half['rate']:.0f} requests a second: median {half['median_ms']:.1f} ms, "
        f"p99 {half['p99_ms']:.1f} ms, most {half['most_ms']:.1f} ms, {_failures(half)}.",
    ]
    if soaked := told.get("soak"):
        megabytes, swaps = soaked["megabytes"], soaked["swap_seconds"]
        notes.append(
            f"Soak: {soaked['requests']} requests, {_failures(soaked)}, p99 {soaked['p99_ms']:.1f} ms; "
            f"{len(swaps)} of {SWAPS} champions seen, within {max(swaps, default=0):.1f} s; "
            f"memory {megabytes[0]:.0f} MB after the first, {megabytes[SWAPS // 2]:.0f} half-way, "
            f"{megabytes[-1]:.0f} MB at the end; answers by version {soaked['told']}."
        )
    return "\n".join([measure.aligned(lines), *notes])


def _failures(result: dict[str, Any]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in result["failed"].items()) or "none failed"


def call(url: str, body: str, headers: dict[str, str]) -> Any:
    """The JSON answer to a POST of `body`. Exits with what the server says when that is an error."""
    try:
        return asked(url, body, headers)
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.code} {error.read().decode()}")


def asked(url: str, body: str, headers: dict[str, str]) -> Any:
    """The same; raises OSError where there is none."""
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def free_port() -> int:
    """A port at which nobody listens at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each load (default: 10)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=TITLES.keys() - {OURS}, default=["tensorflow", "jax", ALONE])
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="10 for the whole proof")
    return parser.parse_args()


if __name__ == "__main__":
    main()
