"""A real MLflow store with small real models, and real servers that serve them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from gridcast.config import threshold_rules
from gridcast.evaluation import artifact_files, detection_results, detection_table, service_examples, thresholds
from gridcast.runtime.model_files import MEMBERS_FILE, NETWORK_FILE, SETTINGS_FILE
from gridcast.runtime.per_series import Route
from gridcast.runtime.per_series import model_files as routed
from gridcast.serving import access_log
from gridcast.sweep import records
from gridcast.sweep.plan import Plan
from gridcast.tracking import mlflow_runs, registry, run_recording
from gridcast.tracking.registry import BEATEN_BY_TAG, CHAMPION
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store, connect, open_store
from gridcast.training import whitening
from small_experiments import SMALL, planned, readings, sales, watched
from tracking_servers import free_port, wait
from untrained_models import untrained_files

TOKEN = "a-token-of-the-admin-0123456789"
DAYS = 130
FRAME = sales(DAYS)
POINT, NEXT, ROUTED, ENSEMBLE, QUANTILES, SAMPLED = "sales", "next", "routed", "ensemble", "quantiles", "sampled"
WATCHED, RUNS = "watched", "runs"
"""Detectors; the second has a running threshold."""
READINGS = readings()
KINDS = (POINT, ROUTED, ENSEMBLE, QUANTILES, SAMPLED)
PROBABILISTIC = {
    **{name: SMALL[name] for name in ("data", "window")},
    "task": "probabilistic",
    "probabilistic": {"quantiles": [0.1, 0.5, 0.9], "paths": 20},
    "selection": {"metric": "best_val_wql"},
}


@dataclass(frozen=True)
class Shop:
    """An MLflow store at `uri` with a model of each name; `run_ids` are the runs that trained them."""

    uri: str
    run_ids: dict[str, str]

    def champion(self, name: str, of: str | None = None, **tags: str) -> str:
        """Register the model of the name `of` as a new champion of `name`, and return its version."""
        client, _ = connect(self.uri)
        run_id = self.run_ids[of or name]
        if name not in [model.name for model in client.search_registered_models()]:
            client.create_registered_model(name)
        logged = registry.logged_model_id(client, client.get_run(run_id))
        version = client.create_model_version(name, f"models:/{logged}", run_id, tags=tags, model_id=logged)
        client.set_registered_model_alias(name, CHAMPION, version.version)
        return str(version.version)


def record(store: Store, plan: Plan, name: str, files: dict[str, bytes]) -> str:
    """Record a run with its model, and its test with the examples, as a sweep does; return the id of the run."""
    parent = mlflow_runs.open_sweep(store, records.sweep_entry(plan))
    run_id = run_recording.record_run(store, parent, RunEntry(name, "run", name, files=files, backend="jax"))
    examples = service_examples.request_examples(plan.panel, plan.dataset.preprocessing, 7)
    artifacts = {artifact_files.EXAMPLES: json.dumps(examples).encode()}
    run_recording.record_run(store, parent, RunEntry(name, "test", name, artifacts=artifacts))
    return run_id


def record_detector(store: Store, plan: Plan, name: str, folder: Path, rule: str = "quantile") -> str:
    """Do the same for a detector, with the scores and sensor values of the test span.

    Its network is untrained, which is enough to tell heat from none.
    """
    from gridcast.models import autoencoder
    from gridcast.runtime.detector import Detector

    configuration, dataset = run(plan, 0).configuration, plan.dataset
    shape = autoencoder.AutoencoderShape(configuration.lookback, 2)
    network = autoencoder.build_autoencoder(configuration, shape, 1, portable=True)
    training = dataset.channels[0, : dataset.spans.train]
    detector = Detector(
        dataset.preprocessing, network, configuration.detector, 0.0, rule, threshold_rules.DEFAULT_LEVELS[rule], ()
    )
    detector = replace(detector, usual=whitening.error_statistics(detector, training))
    threshold, seen = thresholds.fit_threshold_with_history(detector.contributions(training).mean(axis=1), rule)
    detector = replace(detector, threshold=threshold, seen=seen)
    network.save(folder / NETWORK_FILE)
    files = {SETTINGS_FILE: json.dumps(detector.to_json()).encode(), NETWORK_FILE: (folder / NETWORK_FILE).read_bytes()}
    parent = mlflow_runs.open_sweep(store, records.sweep_entry(plan))
    run_id = run_recording.record_run(store, parent, RunEntry(name, "run", name, files=files, backend="jax"))
    scores = detection_results.detector_scores(detector, dataset)
    tables = {
        artifact_files.SCORES: detection_table.tabulate_scores(scores, plan.panel, "time"),
        artifact_files.SENSOR_VALUES: detection_table.sensor_values(plan.panel, "time"),
    }
    artifacts = {file: artifact_files.parquet_bytes(table) for file, table in tables.items()}
    run_recording.record_run(store, parent, RunEntry(name, "test", name, artifacts=artifacts))
    return run_id


def run(plan: Plan, number: int) -> Any:
    """Return a run of the plan."""
    return list(plan.runs.values())[number]


def build(folder: Path) -> dict[str, str]:
    """Record and register all models in a store in `folder`, untrained; return the id of each run."""
    plans = {POINT: planned(folder, FRAME, **SMALL)}
    for name, likelihood in ((QUANTILES, "quantile"), (SAMPLED, "student-t")):
        plans[name] = planned(folder, FRAME, **{**PROBABILISTIC, "baseline": {"likelihood": likelihood}})
    point = plans[POINT]
    one, other = (untrained_files(point.dataset, replace(run(point, 0), seed=seed)) for seed in (0, 1))
    files = {name: untrained_files(plans[name].dataset, run(plans[name], 0)) for name in (QUANTILES, SAMPLED)}
    files |= {POINT: one, NEXT: other}
    routes = (Route("GRU for apples", 7, "apples.keras"), Route("seasonal naive", 7, period=7))
    files[ROUTED] = {SETTINGS_FILE: one[SETTINGS_FILE], **routed(routes, {"apples.keras": one[NETWORK_FILE]})}
    members = {"members": [["0.json", "0.keras"], ["1.json", "1.keras"]], "weights": [0.25, 0.75]}
    files[ENSEMBLE] = {SETTINGS_FILE: one[SETTINGS_FILE], MEMBERS_FILE: json.dumps(members).encode()}
    for number, member in enumerate((one, other)):
        files[ENSEMBLE] |= {f"{number}.json": member[SETTINGS_FILE], f"{number}.keras": member[NETWORK_FILE]}
    with contextlib.chdir(folder):  # MLflow keeps artifacts where the store was made
        store = open_store("shop", f"sqlite:///{folder}/mlflow.db")
    run_ids = {name: record(store, plans.get(name, point), name, content) for name, content in files.items()}
    watching = watched(folder, READINGS, baseline={"detector": "both"})
    run_ids[WATCHED] = record_detector(store, watching, WATCHED, folder)
    run_ids[RUNS] = record_detector(store, watching, RUNS, folder, "running")
    shop = Shop(store.uri, run_ids)
    for name in (*KINDS, WATCHED, RUNS):
        shop.champion(name, **({BEATEN_BY_TAG: "last value"} if name == ROUTED else {}))
    return run_ids


@dataclass
class Server:
    """A running service, its log, and a key for it."""

    url: str
    state: Any
    log: io.StringIO
    key: str | None = None
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, *, key: str | None = None, **more: Any) -> requests.Response:
        """Send a request with the key and return the response."""
        headers = {"X-API-Key": key or self.key or "", **more.pop("headers", {})}
        return self.session.request(method, self.url + path, headers=headers, timeout=60, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.ask("POST", path, **more)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log."""
        return [json.loads(line) for line in self.logged().splitlines()]

    def logged(self) -> str:
        """Return all that was logged, including the last response."""
        time.sleep(5 * access_log.WRITE_DELAY)
        return self.log.getvalue()

    def create_key(self, *scopes: str) -> str:
        """Return a new key with these scopes, from the service itself."""
        body = {"name": "test", "scopes": list(scopes)}
        response = self.post("/generate_api_key", json=body, headers={"X-Admin-Token": TOKEN})
        assert response.status_code == 201
        return str(response.json()["api_key"])


@contextlib.contextmanager
def running(shop: Shop, folder: Path, names: tuple[str, ...] = (POINT,), **more: Any) -> Iterator[Server]:
    """Run a service with these models and settings on a free port."""
    from gridcast.serving import json_logging, server
    from gridcast.serving.rate_limits import RequestLimits
    from gridcast.serving.settings import Settings

    more = {"token": TOKEN, "uri": shop.uri, "limits": RequestLimits(rate=0), "poll_seconds": 600.0, **more}
    loggers = [logging.getLogger(name) for name in ("gridcast", json_logging.LOGGER_NAME, "uvicorn")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    log = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, loggers, before)  # also if it does not start
        json_logging.configure(log)
        port = free_port()
        running = server.create_server(Settings(names, folder=folder, **more), "127.0.0.1", port)
        thread = threading.Thread(target=running.run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, running, "should_exit", True)
        wait(lambda: running.started, 30, "the server did not start")
        service = Server(f"http://127.0.0.1:{port}", running.config.app.state, log)
        if more["token"]:
            service.key = service.create_key("predict", "admin")
        yield service
        service.session.close()


def _restore(loggers: list[logging.Logger], before: list[tuple[Any, int, bool]]) -> None:
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def question(
    name: str = POINT, steps: int | None = None, products: tuple[str, ...] = ("apple",), **more: Any
) -> dict[str, Any]:
    """Return a valid request: the last `steps` of the history of each product."""
    # Models with lags of a year read all of the history.
    steps = steps or (DAYS if name in (QUANTILES, SAMPLED) else 14)
    series = []
    for product in products:
        rows = FRAME[FRAME["product"] == product].tail(steps)
        steps_of_product = rows[["date", "quantity", "price"]].itertuples(index=False)
        history = [{"time": date, "value": value, "price": price} for date, value, price in steps_of_product]
        series.append({"id": product, "history": history})
    return {"model": name, "series": series, **more}
