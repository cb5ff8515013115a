"""gridcast's probabilistic model against GluonTS's DeepAR, AutoETS, Prophet and the seasonal naive forecast.

    .venv/bin/python benchmarks/forecasting.py [--sets NAME ...] [--seeds N ...] [--run NAME ...] [--fresh]

Every contender forecasts the quantiles of the last horizon of each set without seeing it, and is scored by the same
code, `scores.py`. The settings are in `grids/forecasting`: lookback, layers, units, dropout, learning rate, epochs,
batches per epoch and their size, and sample paths are the same for DeepAR. gridcast uses the last horizon before the
test as its validation span: it trains on the steps before it, selects the epoch that is best on it, and calibrates its
intervals there. DeepAR runs in two ways: with the same steps and the same selection, and as in its documentation,
trained on everything before the test, without selection, at its own learning rate. gridcast lets the learning rate
decay to 0, which GluonTS does not offer. AutoETS, Prophet and the naive forecast select nothing, so they are fitted to
everything before the test too.

Each runs in a fresh process, imports and all; gridcast as `gridcast run` with its MLflow store,
baselines and report, all seeds in one sweep, whose cost is divided by their number. Prints a table and
writes benchmarks/results/forecasting.json. Finished results are kept in results/forecasting and reused while their
settings are the same; --fresh runs them again.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
import measure
import numpy as np
import pandas as pd
import scores
import sets
import yaml
from peers import panel

import sweep

HERE = Path(__file__).parent.absolute()
EXPERIMENTS, RESULTS = HERE / "grids" / "forecasting", HERE / "results"
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true"}
COUNTS = ("hospital", "retail-monthly")
"""Sets of counts, for which there are likelihoods of their own."""


@dataclass(frozen=True)
class Contender:
    """A script, its environment (None: gridcast's own), and its name in the table.

    `network` is true of those that are trained with the experiment's settings, once per seed, and
    `counts` of those for counts only. `options` go to the script unchanged.
    """

    title: str
    script: str
    environment: str | None
    network: bool = False
    counts: bool = False
    options: dict[str, Any] = field(default_factory=dict)


OURS = {
    "gridcast": Contender("gridcast", "", None, network=True, options={"likelihood": "student-t"}),
    "gridcast-counts": Contender(
        "gridcast, negative binomial",
        "",
        None,
        network=True,
        counts=True,
        options={"likelihood": "negative-binomial", "scaling": "mean"},
    ),
}
PEERS = {
    "deepar": Contender(
        "DeepAR, same steps",
        "deepar.py",
        "gluonts",
        network=True,
        options={"likelihood": "student-t", "validated": True},
    ),
    "deepar-all": Contender(
        "DeepAR, all before the test",
        "deepar.py",
        "gluonts",
        network=True,
        options={"likelihood": "student-t", "validated": False, "learning_rate": 0.001},
    ),
    "deepar-counts": Contender(
        "DeepAR, negative binomial",
        "deepar.py",
        "gluonts",
        network=True,
        counts=True,
        options={"likelihood": "negative-binomial", "validated": True},
    ),
    "auto-ets": Contender("AutoETS", "auto_ets.py", "statsforecast"),
    "prophet": Contender("Prophet", "prophet_each.py", "prophet"),
    "seasonal-naive": Contender("seasonal naive", "seasonal_naive.py", None),
}
CONTENDERS = OURS | PEERS
REFERENCES = ("deepar", "deepar-all")
"""The better of them on a set is the denominator of the table's ratio."""


@dataclass(frozen=True)
class ForecastTask:
    """One set: the experiment's content, the whole table, and the test (series, horizon) cut from it."""

    name: str
    experiment: dict[str, Any]
    table: pd.DataFrame
    panel: panel.Panel
    actual: np.ndarray


@dataclass(frozen=True)
class ForecastBenchmark:
    """One contender on one set with one seed: its scores and its cost.

    `asked` holds all settings of the contender. `failed` is the end of its output if it failed; its scores are empty
    then. The fields are the keys of the JSON file that keeps the result.
    """

    set: str
    contender: str
    seed: int
    asked: dict[str, Any]
    scores: dict[str, float]
    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float
    failed: str | None = None


MEASURES = ("weighted_quantile_loss", "mase", "coverage_80", "wall_seconds", "cpu_seconds", "peak_megabytes")


def main() -> None:
    """Measure what the command line requests and has no result yet."""
    arguments = _arguments()
    requested = {key: CONTENDERS[key] for key in arguments.run}
    environment_names = {contender.environment for contender in requested.values()} - {None}
    interpreters = {None: Path(sys.executable)} | {
        name: environments.python(name) for name in sorted(environment_names)
    }
    about = {
        "machine": sweep.machine(),
        "versions": {name or "gridcast": environments.versions(path) for name, path in interpreters.items()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    (RESULTS / "forecasting").mkdir(parents=True, exist_ok=True)
    results: list[ForecastBenchmark] = []
    for name in arguments.sets:
        try:
            task = read(name, arguments.data)
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error.filename} does not exist", flush=True)
            continue
        print(f"{name}: {len(task.actual)} series, {task.actual.shape[1]} steps ahead", flush=True)
        for key, contender in CONTENDERS.items():
            if contender.counts and name not in COUNTS:
                continue
            seeds = arguments.seeds if contender.network else [0]
            finished = [] if arguments.fresh and key in requested else _finished(task, key, seeds)
            missing = (
                [seed for seed in seeds if seed not in {done.seed for done in finished}] if key in requested else []
            )
            for done in itertools.chain(finished, _run(task, key, missing, interpreters)):
                outcome = "failed:\n" + done.failed if done.failed else f"{done.wall_seconds:7.1f} s  {done.scores}"
                print(f"  {contender.title:<28}{done.seed}  {outcome}", flush=True)
                results.append(done)
                _write(about, results)
    print(table(summary(results)))
    failed = dict.fromkeys(f"{done.contender} on {done.set}" for done in results if done.failed)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def read(name: str, data: Path) -> ForecastTask:
    """Return the set `name` with its experiment. Raises FileNotFoundError."""
    experiment = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    horizon = experiment["window"]["horizon"]
    table = sets.SETS[name](data, horizon)
    wide = table.pivot_table("value", "series", "time")
    given = panel.Panel(
        series=wide.index.to_numpy(str),
        times=wide.columns.to_numpy()[:-horizon],
        values=wide.to_numpy()[:, :-horizon],
        frequency=experiment["data"]["frequency"],
        period=experiment["data"].get("period", 1),
        horizon=horizon,
        seed=0,
        network={},
        options={},
    )
    return ForecastTask(name, experiment, table, given, wide.to_numpy()[:, -horizon:])


def summary(results: list[ForecastBenchmark]) -> dict[str, dict[str, Any]]:
    """By set and contender: the mean of each measure over the seeds, the loss of each, and its ratio to DeepAR's."""
    good = [done for done in results if done.failed is None]
    summaries: dict[str, dict[str, Any]] = {}
    for done in good:
        summaries.setdefault(done.set, {}).setdefault(done.contender, []).append({**done.scores, **vars(done)})
    for contenders in summaries.values():
        for key, rows in contenders.items():
            contenders[key] = {name: statistics.mean(row[name] for row in rows) for name in MEASURES}
            contenders[key]["losses"] = [row["weighted_quantile_loss"] for row in rows]
        reference = min((contenders[key][MEASURES[0]] for key in REFERENCES if key in contenders), default=None)
        for row in contenders.values():
            row["ratio"] = row[MEASURES[0]] / reference if reference else None
    return summaries


def table(summaries: dict[str, dict[str, Any]]) -> str:
    """Return the summary as aligned text."""
    lines = [("", "quantile loss", "min-max", "ratio", "MASE", "80 % covers", "wall s", "CPU s", "peak MB")]
    for name, contenders in summaries.items():
        lines.append((name, *[""] * 8))
        for key, row in contenders.items():
            spread = f"{min(row['losses']):.4f}-{max(row['losses']):.4f}" if len(row["losses"]) > 1 else ""
            ratio = f"{row['ratio']:.3f}" if row["ratio"] else "-"
            scored = f"{row['weighted_quantile_loss']:.4f}", spread, ratio, f"{row['mase']:.3f}"
            cost = f"{row['wall_seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_megabytes']:.0f}"
            lines.append((f"  {CONTENDERS[key].title}", *scored, f"{row['coverage_80']:.1%}", *cost))
    return "\n".join(
        [
            measure.aligned(lines),
            "Means over the seeds; cost per seed. Ratio: quantile loss over that of the better of DeepAR's two ways.",
        ]
    )


def _finished(task: ForecastTask, key: str, seeds: list[int]) -> list[ForecastBenchmark]:
    """The results on disk of a contender with the same settings."""
    paths = [path for seed in seeds if (path := _path(task.name, key, seed)).exists()]
    results = [ForecastBenchmark(**json.loads(path.read_text())) for path in paths]
    return [done for done in results if done.asked == _settings(task, key)]


def _run(
    task: ForecastTask, key: str, seeds: list[int], interpreters: dict[str | None, Path]
) -> Iterator[ForecastBenchmark]:
    """The results of a contender as they come in; those that did not fail are written to disk."""
    if key in OURS and seeds:
        results = _ours(task, key, seeds)
    else:
        results = (_peer(task, key, seed, interpreters[CONTENDERS[key].environment]) for seed in seeds)
    for done in results:
        if done.failed is None:
            _path(done.set, done.contender, done.seed).write_text(json.dumps(dataclasses.asdict(done), indent=1) + "\n")
        yield done


def _path(name: str, key: str, seed: int, suffix: str = ".json") -> Path:
    return RESULTS / "forecasting" / f"{name}-{key}-{seed}{suffix}"


def _settings(task: ForecastTask, key: str) -> dict[str, Any]:
    """All settings of the contender besides the data and the seed; for gridcast, the whole experiment."""
    content, contender = task.experiment, CONTENDERS[key]
    if key in OURS:
        return content | {"baseline": content["baseline"] | contender.options}
    settings = {name: getattr(task.panel, name) for name in ("frequency", "period", "horizon")}
    network = {
        "lookback": content["window"]["lookback"],
        **{name: content["baseline"][name] for name in ("layers", "units", "dropout", "learning_rate", "batch_size")},
        **{name: content["training"][name] for name in ("epochs", "steps")},
        "paths": content["probabilistic"]["paths"],
    }
    return settings | {"network": network if contender.network else {}, "options": contender.options}


def _peer(task: ForecastTask, key: str, seed: int, interpreter: Path) -> ForecastBenchmark:
    """Run the contender's script in a separate folder."""
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        folder = Path(name)
        panel.write_panel(folder, dataclasses.replace(task.panel, seed=seed, **_settings(task, key)))
        command = [str(interpreter), str(HERE / "peers" / CONTENDERS[key].script), name]
        cost = measure.run(command, folder, ENVIRONMENT)
        return _result(task, key, seed, cost, folder / panel.FORECAST, folder)


def _ours(task: ForecastTask, key: str, seeds: list[int]) -> Iterator[ForecastBenchmark]:
    """Run `gridcast run` in a new project, then the model of each run on everything before the test."""
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        project = Path(name)
        (project / "data").mkdir()
        task.table.to_parquet(project / task.experiment["data"]["source"], index=False)
        experiment = _settings(task, key)
        experiment["training"] = experiment["training"] | {"seeds": seeds}
        (project / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False), encoding="utf-8")
        panel.write_panel(project, task.panel)
        command = [str(Path(sys.executable).with_name("gridcast")), "run", "experiment.yaml"]
        cost = measure.run(command, project, ENVIRONMENT)
        if cost.code == 0:
            forecasts = [sys.executable, str(HERE / "logged_forecasts.py"), name]
            cost += measure.run(forecasts, project, ENVIRONMENT)
        for seed in seeds:
            yield _result(task, key, seed, cost.shared(len(seeds)), project / f"forecast-{seed}.npz", project)


def _result(
    task: ForecastTask, key: str, seed: int, cost: measure.Cost, forecast: Path, folder: Path
) -> ForecastBenchmark:
    """The result of `cost` and the quantiles in the file `forecast`, of which a copy is kept."""
    values, failed = {}, None
    try:
        with np.load(forecast) as arrays:
            quantiles = arrays["quantiles"]
        values = scores.all_of(task.actual, quantiles, task.panel.values, task.panel.period)
        np.savez_compressed(_path(task.name, key, seed, ".npz"), quantiles=quantiles)
    except (OSError, ValueError) as error:
        lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        failed = "\n".join([*lines[-20:], f"exit code {cost.code}, {error}"])
    costs = {"wall_seconds": cost.wall_seconds, "cpu_seconds": cost.cpu_seconds, "peak_megabytes": cost.peak_megabytes}
    return ForecastBenchmark(task.name, key, seed, _settings(task, key), values, **costs, failed=failed)


def _write(about: dict[str, Any], results: list[ForecastBenchmark]) -> None:
    content = {**about, "summary": summary(results), "results": [dataclasses.asdict(done) for done in results]}
    (RESULTS / "forecasting.json").write_text(json.dumps(content, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=sets.SETS, default=list(sets.SETS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    about_run = "contenders to run; for the others finished results are reported"
    parser.add_argument(
        "--run", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME", help=about_run
    )
    parser.add_argument("--fresh", action="store_true", help="run finished contenders again")
    parser.add_argument("--data", type=Path, default=sets.SHARED, help="folder of the public files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
