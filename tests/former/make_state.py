"""Writes `state.tar.xz` and `expected.json` beside this file: a small project as version 0.1.0 left it on disk.

`test_former_version.py` unpacks it and goes on with it by the code under test. The first `../golden.json` comes from
here too, see `test_golden.py`. Made once, by the code of commit a5b2b02 alone:

    git worktree add /tmp/former a5b2b02
    .venv/bin/python tests/former/make_state.py /tmp/former

Only the command line and the modules of that checkout are used, with the packages of this Python. The project is made
in a folder that is removed afterwards, so that every copy of it has been moved, as the test wants it.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

COMMIT = "a5b2b02"
HERE = Path(__file__).parent
ORIGIN = Path("/tmp/gridcast-project-of-version-0.1.0")
"""Where the project was made: recorded in MLflow's database, and gone when it is used."""
TOKEN = "the-admin-token-of-the-former-version"
RECORD = Path(".gridcast", "streams", "pump.sqlite")
LEFT_OUT = "This report is left out, to keep the archive small.\n"
LARGEST = 2_000_000
"""Bytes that the archive may have."""

DAYS = 150
PRODUCTS = ("apple", "pear", "plum")
MINUTES = 480
STEPS = {"demand": 100, "quantiles": 100}
"""Steps of history that the service is asked with, else 30: lags of the probabilistic networks reach back to 92."""


def sales(days: int) -> pd.DataFrame:
    """Pieces sold of each product by day: a weekly cycle; pears are not on offer for three weeks of February."""
    random = np.random.default_rng(11)
    dates = pd.date_range("2023-01-02", periods=DAYS + 40)
    weekly = 12 + 5 * np.sin(2 * np.pi * np.arange(len(dates)) / 7)
    tables = []
    for number, product in enumerate(PRODUCTS, start=1):
        price = np.round(4 + number + random.normal(scale=0.3, size=len(dates)), 2)
        quantity = np.maximum(np.round(number * weekly - price + random.normal(scale=2, size=len(dates))), 1)
        if product == "pear":
            quantity[30:51] = 0
        shelf = "low" if product == "apple" else "high"
        tables.append(
            pd.DataFrame({"date": dates.strftime("%Y-%m-%d"), "product": product, "quantity": quantity, "price": price})
            .assign(shelf=shelf)
            .head(days)
        )
    return pd.concat(tables, ignore_index=True)


def sensors(first: int, last: int) -> pd.DataFrame:
    """Two sensors that swing together each minute; heat alone runs away from minute 400, 520 and 740 on."""
    random, at = np.random.default_rng(12), np.arange(900)
    swing = np.sin(2 * np.pi * at / 40)
    broken = ((at >= 400) & (at < 420)) | ((at >= 520) & (at < 535)) | ((at >= 740) & (at < 755))
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=len(at), freq="min").strftime("%Y-%m-%d %H:%M"),
            "flow": np.round(20 + 3 * swing + 0.1 * random.normal(size=len(at)), 3),
            "heat": np.round(300 + 20 * swing + random.normal(size=len(at)) + 120 * broken, 3),
            "anomaly": broken.astype(int),
        }
    ).iloc[first:last]


TRADE: dict[str, Any] = {
    "version": 1,
    "data": {"source": "sales.csv", "time": "date", "series": "product", "target": "quantity", "gaps": "zero"},
    "window": {"lookback": 7, "horizon": 2},
    "baseline": {"layer": "GRU", "units": 4, "dropout": 0.1, "learning_rate": 0.01, "batch_size": 32},
    "baselines": ["last value"],
    "training": {"epochs": 2, "patience": 2},
}
PUMP: dict[str, Any] = {
    "version": 1,
    "task": "anomaly",
    "data": {"source": "pump.csv", "time": "time", "labels": "anomaly", "frequency": "min"},
    "window": {"lookback": 6},
    "split": {"train": 0.6, "validation": 0.15, "test": 0.25},
    "baseline": {"layer": "GRU", "units": 4, "latent": 2, "dropout": 0.0, "learning_rate": 0.01, "batch_size": 32},
    "baselines": ["z-score"],
    "training": {"epochs": 2, "patience": 2},
    "anomaly": {"threshold": "mean-std", "level": 6.0, "least": 3, "gap": 4},
}


def experiment(base: dict[str, Any], name: str, **sections: Any) -> dict[str, Any]:
    """The content of an experiment file: `base` with `sections` in place of or within its own."""
    content = {"version": 1, "name": name, **{key: value for key, value in base.items() if key != "version"}}
    for key, section in sections.items():
        both = isinstance(section, dict) and isinstance(content.get(key), dict)
        content[key] = content[key] | section if both else section
    return content


def champion(name: str, metric: str = "best_val_loss", **more: Any) -> dict[str, Any]:
    return {"metric": metric, "promote_to": name, "when_beaten": "warn", **more}


DEMAND = {"future": ["day_of_week"], "static": ["shelf"], "past": ["price"]}
FILES = {
    "sales": experiment(
        TRADE,
        "sales",
        data={"past": ["price"], "future": ["day_of_week"], "exhibition": "feature"},
        baseline={"attention": True},
        grid=[
            {"layer": ["GRU"], "attention": [True]},
            {"layer": ["LSTM"], "bidirectional": [True], "attention": [False]},
        ],
        selection=champion("sales"),
    ),
    "per-product": experiment(
        TRADE,
        "per-product",
        mode="local",
        data={"past": ["price"], "select": {"only": ["apple", "plum"]}},
        selection=champion("per-product", "best_val_mae"),
    ),
    "combined": experiment(
        TRADE,
        "combined",
        search={"strategy": "random", "budget": {"runs": 2}},
        grid={"learning_rate": [0.01, 0.005, 0.02]},
        selection=champion("combined", ensemble={"top": 2, "combine": "weighted"}),
    ),
    "demand": experiment(
        TRADE,
        "demand",
        task="probabilistic",
        data=DEMAND,
        baseline={"likelihood": "student-t"},
        probabilistic={"quantiles": [0.1, 0.5, 0.9], "paths": 50},
        selection=champion("demand", "best_val_wql"),
    ),
    "quantiles": experiment(
        TRADE,
        "quantiles",
        task="probabilistic",
        split={"folds": 2, "horizon": 8},
        baseline={"likelihood": "quantile"},
        probabilistic={"quantiles": [0.2, 0.5, 0.8], "conformal": False},
        selection=champion("quantiles", "best_val_wql"),
    ),
    "pump": experiment(PUMP, "pump", selection=champion("pump")),
}
"""The experiments whose sweeps are in the state, by name: each task, each kind of champion."""

PINNED = ("sales", "demand", "pump")
"""Those whose learnt weights are in `golden.json`: GRU with attention, bidirectional LSTM, a likelihood, a detector."""

KEYS = {
    "every calendar, transform and decay": experiment(
        TRADE,
        "keys",
        data={"future": ["day_of_week", "month", "fourier:7:2"], "calendar": "regular", "exhibition": "mask"},
        window={"lookback": 7, "horizon": 2, "stride": 2},
        transform={"log1p": True, "scale": "standard"},
        grid={"units": [4, 8], "optimizer": ["adam", "rmsprop"], "loss": ["mae", "huber"], "lookback": [5, 9]},
        training={"decay": "cosine", "steps": 5, "seeds": [0, 7]},
        selection={"metric": "best_val_mae"},
    ),
    "weeks combined from days": experiment(
        TRADE,
        "keys",
        data={"frequency": "W", "calendar": "regular", "aggregate": "sum"},
        window={"lookback": 3, "horizon": 1},
        split={"train": 0.6, "validation": 0.2, "test": 0.2},
        transform={"scale": "none"},
    ),
    "halving": experiment(
        TRADE, "keys", search={"strategy": "halving", "rungs": 2}, grid={"dropout": [0.0, 0.3], "layers": [1, 2]}
    ),
    "tree-structured search": experiment(
        TRADE, "keys", search={"strategy": "tpe", "budget": {"runs": 3}, "seed": 5}, grid={"batch_size": [16, 32, 64]}
    ),
    "one network for each product and one for all, on rolling origins": experiment(
        TRADE, "keys", mode="auto", split={"folds": 2, "horizon": 4, "expanding": False}
    ),
    "counts": experiment(
        TRADE,
        "keys",
        task="probabilistic",
        data=DEMAND,
        baseline={"likelihood": "negative-binomial", "scaling": "mean"},
        grid={"likelihood": ["negative-binomial", "gaussian", "student-t"]},
        selection={"metric": "best_val_wql"},
    ),
    "detectors of every kind": experiment(
        PUMP,
        "keys",
        data={"labelled": "omit", "sensors": ["heat", "flow"]},
        grid={
            "detector": ["reconstruction", "prediction", "both", "encoding"],
            "scaling": ["none", "centred", "standard"],
        },
        anomaly={"threshold": "quantile", "level": 0.01, "least": 2, "gap": 0},
        selection={"metric": "val_faults_missed", "ensemble": {"top": 2, "combine": "minimum"}},
    ),
    "a running threshold": experiment(PUMP, "keys", anomaly={"threshold": "running", "level": 0.001}),
}
"""Experiments of which only the run keys are kept."""
PLANNED = """
import json, sys
from pathlib import Path
from gridcast import config, plan
files = json.load(sys.stdin)
plans = {name: plan.make(config.parse(text), text, "jax") for name, text in files.items()}
print(json.dumps({name: {"runs": list(made.runs), "sweep": made.sweep_key} for name, made in plans.items()}))
"""


class Former:
    """The command line of the checkout, started in the project folder."""

    def __init__(self, checkout: Path, project: Path) -> None:
        self.project = project
        self.environment = os.environ | {
            "PYTHONPATH": str(checkout / "src"),
            "KERAS_BACKEND": "jax",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "JAX_COMPILATION_CACHE_DIR": str(project.with_name("programs-of-version-0.1.0")),
            "GRIDCAST_ADMIN_TOKEN": TOKEN,
        }
        self.environment.pop("MLFLOW_TRACKING_URI", None)

    def __call__(self, *words: str, project: Path | None = None) -> str:
        """Return the standard output of a verb. Raises RuntimeError where it fails."""
        command = [sys.executable, "-m", "gridcast.cli", *words]
        done = subprocess.run(
            command, cwd=project or self.project, env=self.environment, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def python(self, code: str, text: str = "") -> Any:
        """Return the JSON that a program writes."""
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment, text=True, input=text, stdout=subprocess.PIPE, check=True
        )
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def serving(self, *words: str) -> Iterator[str]:
        """The address of a service, which ends in order."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "gridcast.cli", "serve", *words, "--port", str(port)]
        process = subprocess.Popen(command, cwd=self.project, env=self.environment, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{url}/")
                    break
                time.sleep(0.1)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def ask(url: str, key: str | None = None, body: Any = None, **more: str) -> Any:
    """The JSON that the service answers."""
    headers = {"Content-Type": "application/json", "X-API-Key": key or "", **more}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from None


def history(table: pd.DataFrame, name: str, last: str) -> pd.DataFrame:
    """The table for a forecaster: rows up to `last`, and the columns that its experiment reads."""
    data = FILES[name]["data"]
    columns = ["date", "product", "quantity", *data.get("past", []), *data.get("static", [])]
    series = data.get("select", {}).get("only", PRODUCTS)
    return table.loc[table["product"].isin(series) & (table["date"] <= last), columns]


def request(table: pd.DataFrame, name: str, last: str) -> dict[str, Any]:
    """The same, asked over HTTP."""
    series = []
    for product, rows in history(table, name, last).groupby("product"):
        steps = rows.tail(STEPS.get(name, 30)).rename(columns={"date": "time", "quantity": "value"})
        series.append({"id": product, "history": steps.drop(columns="product").to_dict("records")})
    return {"model": name, "series": series}


DOORS = """
import json, sys
sys.modules["tensorflow"] = None  # Keras would load it to no purpose
import keras, mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri("sqlite:///mlflow.db")

def example_input(tensor):
    if "int" in tensor.dtype:
        return np.zeros((2, *tensor.shape[1:]), tensor.dtype)
    shape = (2, *(size or 6 for size in tensor.shape[1:]))
    return np.sin(np.arange(np.prod(shape))).reshape(shape).astype("float32")

result = {}
for name, about in json.load(sys.stdin).items():
    table = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(pd.read_csv(about["table"]))
    columns = {c: [str(v) if isinstance(v, pd.Timestamp) else v for v in table[c]] for c in table}
    networks = {run: mlflow.keras.load_model(f"runs:/{run}/model") for run in about["runs"]}
    inputs = {run: keras.tree.map_structure(example_input, network.input) for run, network in networks.items()}
    answers = {run: network(inputs[run]) for run, network in networks.items()}
    flat = {run: [np.asarray(a, float).ravel().tolist() for a in keras.tree.flatten(a)] for run, a in answers.items()}
    weights = {run: [w.ravel().tolist() for w in network.get_weights()] for run, network in networks.items()}
    result[name] = {**about, "predictions": columns, "networks": flat, "weights": weights}
print(json.dumps(result))
"""
RUNS = """
import json, mlflow
client, result = mlflow.MlflowClient("sqlite:///mlflow.db"), {}
for experiment in client.search_experiments():
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    records = result[experiment.name] = {}
    for run in runs:
        records[run.info.run_id] = {
            "kind": run.data.tags["gridcast.kind"],
            "key": run.data.tags.get("gridcast.run_key", run.data.tags.get("gridcast.sweep_key")),
            "status": run.info.status,
            "model": bool(run.outputs and run.outputs.model_outputs),
            "network": any(a.path == "data/model.keras" for o in (run.outputs.model_outputs if run.outputs else ())
                           for a in client.list_logged_model_artifacts(o.model_id, "data")),
        }
result.pop("Default", None)
names = [model.name for model in client.search_registered_models()]
champions = {name: client.get_model_version_by_alias(name, "champion").run_id for name in names}
print(json.dumps({"runs": result, "champions": champions}))
"""


MONITORED = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
(run,) = client.search_runs([client.get_experiment_by_name("sales").experiment_id], "tags.`gridcast.kind` = 'monitor'")
print(json.dumps(run.data.metrics))
"""
THRESHOLD = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
print(json.dumps(float(client.get_model_version_by_alias("pump", "champion").tags["gridcast.threshold"])))
"""


def steps(record: Path) -> dict[str, Any]:
    """Scores, events and alerts of a stream's record."""
    with contextlib.closing(sqlite3.connect(record)) as database:
        rows = database.execute("SELECT time, score FROM steps ORDER BY time").fetchall()
        events = database.execute("SELECT id FROM events ORDER BY first").fetchall()
        alerts = database.execute("SELECT id, channel, sent IS NOT NULL FROM alerts ORDER BY id").fetchall()
    return {"scores": dict(rows), "events": [event for (event,) in events], "alerts": alerts}


def pack(project: Path, target: Path) -> None:
    """The project as an archive, its files in the order of their endings, so that alike lies near alike."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted(project.rglob("*"), key=lambda path: (path.suffix, path.name, str(path))):
            if path.is_file():
                about = archive.gettarinfo(path, str(path.relative_to(project)))
                about.uid = about.gid = 0
                about.uname = about.gname = ""
                with path.open("rb") as file:
                    archive.addfile(about, file)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}]
    target.write_bytes(lzma.compress(content.getvalue(), filters=filters))
    if target.stat().st_size > LARGEST:
        raise RuntimeError(f"{target} has {target.stat().st_size:,} bytes, {LARGEST:,} are allowed")


def sweep(former: Former) -> dict[str, Any]:
    """Train and promote every experiment; return the runs and champions in MLflow."""
    for name in FILES:
        former("run", f"{name}.yaml", "--workers", "1")
    return dict(former.python(RUNS))


def serve(former: Former, known: pd.DataFrame, later: pd.DataFrame) -> dict[str, Any]:
    """Ask a service that keeps a prediction log; return one of its keys and its answers."""
    days = sorted(set(later["date"]))
    answers = {}
    with former.serving(*FILES, "--keep") as url:
        wanted = {"name": "kept since version 0.1.0", "expires_in_days": 3650, "scopes": ["predict", "admin"]}
        key = ask(f"{url}/generate_api_key", body=wanted, **{"X-Admin-Token": TOKEN})["api_key"]
        for name in FILES:
            rows = sensors(380, 440).drop(columns="anomaly").to_dict("records")
            body = {"model": name, "rows": rows} if name == "pump" else request(known, name, days[DAYS - 1])
            path = "anomalies" if name == "pump" else "predict"
            answers[name] = {"path": path, "body": body, "answer": ask(f"{url}/{path}", key, body)}
        for day in days[DAYS : DAYS + 20]:
            ask(f"{url}/predict", key, request(later, "sales", day))
    return {"api_key": key, "http": answers}


def follow(former: Former) -> dict[str, Any]:
    """Follow a folder up to an alert; the newest steps wait for their verdict."""
    feed = former.project / "feed"
    feed.mkdir()
    for first in range(480, 690, 30):
        sensors(first, first + 30).drop(columns="anomaly").to_csv(feed / f"{first}.csv", index=False)
    sensors(690, 780).drop(columns="anomaly").to_csv(former.project / "next.csv", index=False)
    former("detect", "pump", "--follow", "feed", "--once")
    before = steps(former.project / RECORD)
    if len(before["alerts"]) != 1 or not before["alerts"][0][2]:
        raise RuntimeError(f"not one alert was delivered: {before['alerts']}")
    return before


def open_doors(former: Former, expected: dict[str, Any], known: pd.DataFrame) -> Any:
    """Predictions of the champions from a table in the project, and outputs and weights of the networks of all runs."""
    about = {}
    for name in FILES:
        table = f"history-{name}.csv"
        rows = sensors(380, 440).drop(columns="anomaly") if name == "pump" else history(known, name, "9999")
        rows.to_csv(former.project / table, index=False)
        runs = [run for run, result in expected["runs"][name].items() if result["network"]]
        about[name] = {"table": table, "runs": runs}
    return former.python(DOORS, json.dumps(about))


def go_on(former: Former, before: dict[str, Any]) -> dict[str, Any]:
    """How the former version itself goes on from the state that is packed."""
    detect = ("detect", "pump", "--follow", "feed", "--once")
    former(*detect)
    settled = steps(former.project / RECORD)
    shutil.copy(former.project / "next.csv", former.project / "feed" / "690.csv")
    former(*detect)
    stream = {"before": before, "settled": settled, "after": steps(former.project / RECORD)}
    if len(stream["after"]["alerts"]) != len(before["alerts"]) + 1:
        raise RuntimeError(f"not one more alert: {stream['after']['alerts']}")
    loose = ("--max-error", "1000", "--max-psi", "1000", "--coverage-gap", "1")
    former("monitor", "sales", "actuals.csv", "--served", ".gridcast/serving/kept.db", *loose)
    monitored = former.python(MONITORED)
    former("recalibrate", "pump", str(RECORD), "--force", "to have another threshold")
    return {"stream": stream, "monitor": monitored, "threshold": former.python(THRESHOLD)}


def golden(former: Former, expected: dict[str, Any]) -> dict[str, Any]:
    """The content of `golden.json`: run keys of all experiments, and the weights that some of them learnt.

    The weights leave `expected`, which needs them no more.
    """
    texts = {name: yaml.safe_dump(content, sort_keys=False) for name, content in (FILES | KEYS).items()}
    keys = former.python(PLANNED, json.dumps(texts))
    weights = {name: door.pop("weights") for name, door in expected["doors"].items()}
    by_key = {
        name: {
            expected["runs"][name][run]["key"]: [[float(f"{value:.8g}") for value in array] for array in arrays]
            for run, arrays in weights[name].items()
        }
        for name in PINNED
    }
    return {"experiments": {name: {"text": texts[name], **keys[name]} for name in texts}, "weights": by_key}


def make(checkout: Path, target: Path) -> None:
    """Write the archive, and what is expected of it, into the folder `target`."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, text=True, capture_output=True, check=True).stdout
    if not head.startswith(COMMIT):
        raise RuntimeError(f"{checkout} is at {head.strip()}, not at {COMMIT}")
    shutil.rmtree(ORIGIN, ignore_errors=True)
    ORIGIN.mkdir()
    former, known, later = Former(checkout, ORIGIN), sales(DAYS), sales(DAYS + 30)
    known.to_csv(ORIGIN / "sales.csv", index=False)
    later.to_csv(ORIGIN / "actuals.csv", index=False)
    sensors(0, MINUTES).to_csv(ORIGIN / "pump.csv", index=False)
    for name, content in FILES.items():
        (ORIGIN / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    expected = {"commit": COMMIT, **sweep(former), **serve(former, known, later)}
    before = follow(former)
    expected["doors"] = open_doors(former, expected, known)
    # Reports are pictures above all, and are made again from the rest.
    for path in [*ORIGIN.rglob("__pycache__"), *ORIGIN.glob("mlruns/*/*/artifacts/report"), *ORIGIN.glob("reports/*")]:
        shutil.rmtree(path)
    for name in FILES:
        (ORIGIN / "reports" / name).mkdir()
        (ORIGIN / "reports" / name / "report.html").write_text(LEFT_OUT)
    pack(ORIGIN, target / "state.tar.xz")
    expected |= go_on(former, before)
    pinned = golden(former, expected)
    (target.parent / "golden.json").write_text(json.dumps(pinned) + "\n")
    (target / "expected.json").write_text(json.dumps(expected) + "\n")
    shutil.rmtree(ORIGIN)
    shutil.rmtree(former.environment["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute(), HERE)
