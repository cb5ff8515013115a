"""A real store with small real models, and real servers that answer by them."""

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
from gridcast.runtime.forecaster import MEMBERS_FILE, NETWORK_FILE, SETTINGS_FILE
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

TOKEN = "a-token-of-the-admin-0123456789"
DAYS = 130
FRAME = sales(DAYS)
POINT, NEXT, ROUTED, ENSEMBLE, QUANTILES, SAMPLED = "sales", "next", "routed", "ensemble", "quantiles", "sampled"
WATCHED, RUNS = "watched", "runs"
"""Detectors; the threshold of the second is a running one."""
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
    """Models by name in the MLflow store at `uri`; `run_ids` are those of the runs that made them."""

    uri: str
    run_ids: dict[str, str]

    def champion(self, name: str, of: str | None = None, **tags: str) -> str:
        """Let the model that is called `of` become a new champion of `name`; its version."""
        client, _ = connect(self.uri)
        run_id = self.run_ids[of or name]
        if name not in [model.name for model in client.search_registered_models()]:
            client.create_registered_model(name)
        logged = registry.logged_model_id(client, client.get_run(run_id))
        version = client.create_model_version(name, f"models:/{logged}", run_id, tags=tags, model_id=logged)
        client.set_registered_model_alias(name, CHAMPION, version.version)
        return str(version.version)


def record(store: Store, plan: Plan, name: str, files: dict[str, bytes]) -> str:
    """Write a run with its model, and its test with the examples, as a sweep does."""
    parent = mlflow_runs.open_sweep(
        store, plan.sweep_key, plan.experiment.name, records.sweep_tags(plan), records.sweep_files(plan)
    )
    run_id = run_recording.record_run(store, parent, RunEntry(name, "run", name, files=files, backend="jax"))
    examples = service_examples.request_examples(plan.panel, plan.dataset.preprocessing, 7)
    artifacts = {artifact_files.EXAMPLES: json.dumps(examples).encode()}
    run_recording.record_run(store, parent, RunEntry(name, "test", name, artifacts=artifacts))
    return run_id


def record_detector(store: Store, plan: Plan, name: str, folder: Path, rule: str = "quantile") -> str:
    """The same of a detector, with the scores and values of the test span. Its network is as it was drawn.

    That is enough to tell heat from none, and compiles in no time.
    """
    from gridcast.models import autoencoder
    from gridcast.runtime.detector import Detector

    own, dataset = run(plan, 0).configuration, plan.dataset
    network = autoencoder.build_autoencoder(own, autoencoder.AutoencoderShape(own.lookback, 2), 1, portable=True)
    training = dataset.channels[0, : dataset.spans.train]
    usual = Detector(dataset.preprocessing, network, own.detector, 0.0, rule, threshold_rules.DEFAULT_LEVELS[rule], ())
    usual = replace(usual, usual=whitening.error_statistics(usual, training))
    first, seen = thresholds.fit_threshold_with_history(usual.contributions(training).mean(axis=1), rule)
    whole = replace(usual, threshold=first, seen=seen)
    network.save(folder / NETWORK_FILE)
    files = {SETTINGS_FILE: json.dumps(whole.to_json()).encode(), NETWORK_FILE: (folder / NETWORK_FILE).read_bytes()}
    parent = mlflow_runs.open_sweep(
        store, plan.sweep_key, plan.experiment.name, records.sweep_tags(plan), records.sweep_files(plan)
    )
    run_id = run_recording.record_run(store, parent, RunEntry(name, "run", name, files=files, backend="jax"))
    found = detection_results.detector_scores(whole, dataset)
    tables = {
        artifact_files.SCORES: detection_table.tabulate_scores(found, plan.panel, "time"),
        artifact_files.SENSOR_VALUES: detection_table.sensor_values(plan.panel, "time"),
    }
    kept = {file: artifact_files.parquet_bytes(table) for file, table in tables.items()}
    run_recording.record_run(store, parent, RunEntry(name, "test", name, artifacts=kept))
    return run_id


def run(plan: Plan, number: int) -> Any:
    """One of the runs of a plan."""
    return list(plan.runs.values())[number]


def build(folder: Path) -> dict[str, str]:
    from gridcast.training import fused_fit, keras_fit

    plans = {POINT: planned(folder, FRAME, **SMALL, grid={"learning_rate": [0.01, 0.003]})}
    for name, likelihood in ((QUANTILES, "quantile"), (SAMPLED, "student-t")):
        own = {"training": {"epochs": 1, "steps": 4}, "baseline": {"likelihood": likelihood}}
        plans[name] = planned(folder, FRAME, **{**PROBABILISTIC, **own})
    own = plans[POINT]
    one, other = (
        found.files
        for found in fused_fit.train(own.dataset, [run(own, 0), run(own, 1)], state_paths=[None, None], siblings=2)
    )
    files = {name: keras_fit.train(plans[name].dataset, run(plans[name], 0)).files for name in (QUANTILES, SAMPLED)}
    files |= {POINT: one, NEXT: other}
    routes = (Route("GRU for apples", 7, "apples.keras"), Route("seasonal naive", 7, period=7))
    files[ROUTED] = {SETTINGS_FILE: one[SETTINGS_FILE], **routed(routes, {"apples.keras": one[NETWORK_FILE]})}
    members = {"members": [["0.json", "0.keras"], ["1.json", "1.keras"]], "weights": [0.25, 0.75]}
    files[ENSEMBLE] = {SETTINGS_FILE: one[SETTINGS_FILE], MEMBERS_FILE: json.dumps(members).encode()}
    for number, made in enumerate((one, other)):
        files[ENSEMBLE] |= {f"{number}.json": made[SETTINGS_FILE], f"{number}.keras": made[NETWORK_FILE]}
    with contextlib.chdir(folder):  # MLflow keeps artifacts where the store was made
        store = open_store("shop", f"sqlite:///{folder}/mlflow.db")
    run_ids = {name: record(store, plans.get(name, plans[POINT]), name, own) for name, own in files.items()}
    watching = watched(folder, READINGS, baseline={"detector": "both"})
    run_ids[WATCHED] = record_detector(store, watching, WATCHED, folder)
    run_ids[RUNS] = record_detector(store, watching, RUNS, folder, "running")
    shop = Shop(store.uri, run_ids)
    for name in (*KINDS, WATCHED, RUNS):
        shop.champion(name, **({BEATEN_BY_TAG: "last value"} if name == ROUTED else {}))
    return run_ids


@dataclass
class Server:
    """A service that listens, what it logs, and a key of it."""

    url: str
    service: Any
    log: io.StringIO
    key: str | None = None
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, *, key: str | None = None, **more: Any) -> requests.Response:
        headers = {"X-API-Key": key or self.key or "", **more.pop("headers", {})}
        return self.session.request(method, self.url + path, headers=headers, timeout=60, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.ask("POST", path, **more)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said().splitlines()]

    def said(self) -> str:
        """All that was logged, the last answer too."""
        time.sleep(5 * access_log.WRITE_DELAY)
        return self.log.getvalue()

    def made(self, *scopes: str) -> str:
        """A key with these scopes, from the service itself."""
        body = {"name": "test", "scopes": list(scopes)}
        given = self.post("/generate_api_key", json=body, headers={"X-Admin-Token": TOKEN})
        assert given.status_code == 201
        return str(given.json()["api_key"])


@contextlib.contextmanager
def running(shop: Shop, folder: Path, names: tuple[str, ...] = (POINT,), **more: Any) -> Iterator[Server]:
    """A service with these models and settings, on a port of its own."""
    from gridcast.serving import json_logging, server
    from gridcast.serving.rate_limits import RequestLimits
    from gridcast.serving.settings import Settings

    more = {"token": TOKEN, "uri": shop.uri, "limits": RequestLimits(rate=0), "poll": 600.0, **more}
    loggers = [logging.getLogger(name) for name in ("gridcast", json_logging.LOGGER_NAME, "uvicorn")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    log = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, loggers, before)  # also where it does not start
        json_logging.configure(log)
        port = free_port()
        running = server.create_server(Settings(names, folder=folder, **more), "127.0.0.1", port)
        thread = threading.Thread(target=running.run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, running, "should_exit", True)
        wait(lambda: running.started, 30, "the server did not start")
        found = Server(f"http://127.0.0.1:{port}", running.config.app.service, log)
        if more["token"]:
            found.key = found.made("predict", "admin")
        yield found
        found.session.close()


def _restore(loggers: list[logging.Logger], before: list[tuple[Any, int, bool]]) -> None:
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def question(
    name: str = POINT, steps: int | None = None, products: tuple[str, ...] = ("apple",), **more: Any
) -> dict[str, Any]:
    """A request that is answered: the last `steps` of the history of each product."""
    # One that draws on a year ago reads all that there is.
    steps = steps or (DAYS if name in (QUANTILES, SAMPLED) else 14)
    series = []
    for product in products:
        rows = FRAME[FRAME["product"] == product].tail(steps)
        own = rows[["date", "quantity", "price"]].itertuples(index=False)
        history = [{"time": date, "value": value, "price": price} for date, value, price in own]
        series.append({"id": product, "history": history})
    return {"model": name, "series": series, **more}
