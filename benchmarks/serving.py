"""`gridcast serve` against `mlflow models serve`: the same model, the same window, the same machine.

    .venv/bin/python benchmarks/serving.py [--seconds S] [--repeats N] [--peers NAME ...] [--soak MINUTES]

A small sweep is recorded by a separate MLflow server, from which both services load the champion; MLflow's service runs
on either backend of Keras. As gridcast's model is made for quick answers, its network is also logged by MLflow's own
Keras flavour, as in a hand-written loop, and served without preprocessing (`network_alone.py`): the client does the
scaling. All must give the same forecast. Then each in turn serves the forecast of one window to one client and to
sixteen clients, which run in a separate process (`load.py`); gridcast also gets half of its maximum rate by the clock.
`--soak` applies a load for the given minutes, while the champion changes twenty times and the tracking server is
killed and restarted once. Prints a table and writes benchmarks/results/serving.json.
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
"""Relative difference of two forecasts of one window that may be due to rounding."""


@dataclass(frozen=True)
class Service:
    """A service under load: the request to it, and its process."""

    name: str
    url: str
    body: str
    headers: dict[str, str]
    pid: int
    read: Callable[[Any], float]

    def forecast(self) -> float:
        """Return the forecast in its answer, in data units."""
        return float(self.read(call(self.url, self.body, self.headers)))

    def load(self, seconds: float, **job: Any) -> subprocess.Popen[str]:
        """Start a process that puts a load on the service, see `load.LoadJob`."""
        command = [sys.executable, str(HERE / "load.py")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        load_job = load.LoadJob(self.url, self.body, seconds, self.headers, **job)
        assert process.stdin is not None
        process.stdin.write(json.dumps(dataclasses.asdict(load_job)))
        process.stdin.close()
        process.stdin = None
        return process

    def under(self, seconds: float, **job: Any) -> load.LoadResult:
        """Return the result of that load."""
        return load_result(self.load(seconds, **job))


def load_result(process: subprocess.Popen[str]) -> load.LoadResult:
    """Return the result that a process of `Service.load` prints."""
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"load.py ended with {process.returncode}")
    return load.LoadResult(**json.loads(output))


class Server:
    """A server at a free port, in a process group of its own; its output goes to `folder`/`name`.log.

    The port is appended to `command`; `path` answers once the server is ready.
    """

    def __init__(self, name: str, command: list[str], path: str, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [*command, "--port", str(self.port)]
        self.path, self.folder, self.log = path, folder, folder / f"{name}.log"
        # MLflow starts programs of this environment by their names.
        search_path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": search_path, "MLFLOW_DISABLE_TELEMETRY": "true"} | environment

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
        """Whether the server answers."""
        try:
            with urllib.request.urlopen(f"{self.url}{self.path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> None:
    """Measure what the command line requests."""
    arguments = _arguments()
    results: dict[str, Any] = {
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
                results["measurements"].append({"service": service.name, "repeat": repeat, **loads})
                print(
                    f"  {repeat}  {TITLES[service.name]:<38}{alone.median_ms:9.2f} ms{crowd.per_second:9.1f} a second",
                    flush=True,
                )
        results["summary"] = summary(results["measurements"])
        rate = results["summary"][OURS]["per_second"] / 2
        results["half"] = {"rate": rate, **dataclasses.asdict(ours.under(arguments.seconds, rate=rate))}
        if arguments.soak:
            results["soak"] = soak(ours, tracking, versions, 60 * arguments.soak, min(rate, SOAKED))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "serving.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


def trained(folder: Path, uri: str) -> list[str]:
    """Train the two runs of the experiment, and return the versions of its model, that of the champion first."""
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
    """Yield the service `name`, ready to forecast the step after `rows`."""
    environment = {"MLFLOW_TRACKING_URI": uri}
    body: dict[str, Any]
    if name == OURS:
        token = secrets.token_hex(32)
        command = ["gridcast", "serve", NAME, "--rate", "0"]
        with Server(name, command, "/", folder, GRIDCAST_ADMIN_TOKEN=token, **environment) as server:
            key_request = {"name": "benchmark", "expires_in_days": 1, "scopes": ["predict"]}
            key = call(f"{server.url}/generate_api_key", json.dumps(key_request), {"X-Admin-Token": token})
            history = [{"time": row["date"], "value": row["quantity"], "unit_price": row["unit_price"]} for row in rows]
            body = {"model": NAME, "horizon": 1, "series": [{"id": rows[0]["product"], "history": history}]}
            headers = {"X-API-Key": key["api_key"]}
            yield Service(name, f"{server.url}/predict", json.dumps(body), headers, server.process.pid, _value)
        return
    model, body, read = f"models:/{NAME}@champion", {"dataframe_records": rows, "params": {"horizon": 1}}, _forecast
    environment["KERAS_BACKEND"] = "jax" if name == "jax" else "tensorflow"
    if name == ALONE:
        network = logged(rows, folder, environment)
        model, body = network["uri"], {"inputs": network["inputs"]}
        read = functools.partial(_unscaled, network["offset"], network["scale"])
    command = ["mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"]
    with Server(name, command, "/ping", folder, **environment) as server:
        yield Service(name, f"{server.url}/invocations", json.dumps(body), {}, server.process.pid, read)


def logged(rows: list[dict[str, Any]], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Log the champion's network by the Keras flavour, and return what `network_alone.py` prints."""
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
    """Return the rows that a forecast of one step needs: the last window of the first series."""
    experiment = config.read(EXPERIMENT)
    panel = plan.make_plan(experiment, "", "jax", cache=windows.DATA).panel
    last = slice(-experiment.window.lookback, None)
    return [
        {"date": str(time)[:10], "product": panel.series[0], "quantity": value, "unit_price": price}
        for time, value, price in zip(
            panel.times[last], panel.target[0, last].tolist(), panel.past[0, last, 0].tolist(), strict=True
        )
    ]


def same(services: list[Service]) -> None:
    """Exit unless all services give the same forecast."""
    forecasts = {TITLES[service.name]: service.forecast() for service in services}
    if max(forecasts.values()) - min(forecasts.values()) > SAME * abs(max(forecasts.values())):
        sys.exit(f"not the same model: {forecasts}")


def soak(service: Service, tracking: Server, versions: list[str], seconds: float, rate: float) -> dict[str, Any]:
    """Apply the load `rate` for `seconds` in equal parts: each begins with a new champion, one without tracking server.

    Returns the result of the load, the seconds after which each champion answered, and the megabytes of the
    service at the end of each part.
    """
    client, parts, middle = MlflowClient(tracking.url), SWAPS + 1, SWAPS // 2
    part, started_at = seconds / parts, time.monotonic()
    loading = service.load(seconds, rate=rate, counted_field="version")
    swap_seconds, megabytes, champion = [], [], 0
    for number in range(parts):
        end = started_at + (number + 1) * part
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
                    swap_seconds.append(time.monotonic() - moved)
                    break
                time.sleep(0.1)
        time.sleep(max(0.0, end - time.monotonic()))
        megabytes.append(measure.megabytes(service.pid))
    return {
        "rate": rate,
        **dataclasses.asdict(load_result(loading)),
        "swap_seconds": swap_seconds,
        "megabytes": megabytes,
    }


def answering(service: Service) -> str | None:
    """Return the version that answers; None without an answer, which the load counts as failed."""
    with contextlib.suppress(OSError):
        return str(post(service.url, service.body, service.headers)["version"])
    return None


def summary(measurements: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, by service, medians over the repeats, and how many times as fast gridcast is (median, min, max)."""
    by_service: dict[str, dict[str, Any]] = {}
    by = {(row["service"], row["repeat"]): row for row in measurements}
    for name in dict.fromkeys(row["service"] for row in measurements):
        of_service = [row for row in measurements if row["service"] == name]
        by_service[name] = {
            "median_ms": statistics.median(row["alone"]["median_ms"] for row in of_service),
            "p99_ms": statistics.median(row["alone"]["p99_ms"] for row in of_service),
            "per_second": statistics.median(row["crowd"]["per_second"] for row in of_service),
            "failed": sum(sum(row[kind]["failed"].values()) for row in of_service for kind in ("alone", "crowd")),
        }
        pairs = [(row, by[OURS, row["repeat"]]) for row in of_service]
        sooner = [row["alone"]["median_ms"] / ours["alone"]["median_ms"] for row, ours in pairs]
        # Many clients may get no answer at all.
        more = [ours["crowd"]["per_second"] / (row["crowd"]["per_second"] or math.nan) for row, ours in pairs]
        for measured, ratios in (("sooner", sooner), ("more", more)):
            by_service[name][measured] = [statistics.median(ratios), min(ratios), max(ratios)]
    return by_service


def table(results: dict[str, Any]) -> str:
    """Return the results as aligned text and sentences."""
    lines = [("service", "median ms", "p99 ms", "times", f"{CLIENTS} clients, 1/s", "times", "failed")]
    for name, row in results["summary"].items():
        ratios = [f"{row[measured][0]:.1f}" for measured in ("sooner", "more")]
        times = f"{row['median_ms']:.2f}", f"{row['p99_ms']:.2f}", ratios[0], f"{row['per_second']:.1f}", ratios[1]
        lines.append((TITLES[name], *times, str(row["failed"])))
    half = results["half"]
    notes = [
        "Medians over the repeats. Times: how many times as slow as gridcast, and how many times fewer answers.",
        f"gridcast at {half['rate']:.0f} requests a second: median {half['median_ms']:.1f} ms, "
        f"p99 {half['p99_ms']:.1f} ms, most {half['most_ms']:.1f} ms, {_failures(half)}.",
    ]
    if soaked := results.get("soak"):
        megabytes, swaps = soaked["megabytes"], soaked["swap_seconds"]
        notes.append(
            f"Soak: {soaked['requests']} requests, {_failures(soaked)}, p99 {soaked['p99_ms']:.1f} ms; "
            f"{len(swaps)} of {SWAPS} champions seen, within {max(swaps, default=0):.1f} s; "
            f"memory {megabytes[0]:.0f} MB after the first, {megabytes[SWAPS // 2]:.0f} half-way, "
            f"{megabytes[-1]:.0f} MB at the end; answers by version {soaked['values']}."
        )
    return "\n".join([measure.aligned(lines), *notes])


def _failures(result: dict[str, Any]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in result["failed"].items()) or "none failed"


def call(url: str, body: str, headers: dict[str, str]) -> Any:
    """Return the JSON answer to a POST of `body`. Exits with the answer of the server if that is an error."""
    try:
        return post(url, body, headers)
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.code} {error.read().decode()}")


def post(url: str, body: str, headers: dict[str, str]) -> Any:
    """Return the JSON answer to a POST of `body`. Raises OSError if there is none."""
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def free_port() -> int:
    """Return a port that is free at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="seconds of each load (default: 10)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=TITLES.keys() - {OURS}, default=["tensorflow", "jax", ALONE])
    parser.add_argument(
        "--soak", type=float, default=0, metavar="MINUTES", help="minutes under load; use 10 for the full test"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
