"""How often `gridcast monitor` raises an alarm: on new retail data of the same kind, and on drifted copies of it.

    .venv/bin/python benchmarks/drift.py [--seeds 20] [--steps 60]

Trains one GRU on the retail panel (`experiments/retail_daily.yaml`, its own settings, in a store of its own),
makes it champion, and runs the monitor on new rows that are generated for each seed: blocks of twelve
trading days drawn from the whole panel, all products together, each beginning on the weekday to which it is
moved, dated on the trading days after the last one. An alarm on these is a false one. The same rows are then
changed by each of `DRIFTS`, where no alarm is a miss. Last, the monitor runs on the true
test span, which the network never saw, unchanged and drifted.

Prints how many of the seeds raised an alarm, and whether by error, drift or stuck values; writes
benchmarks/results/drift.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from peers import windows

from gridcast import config
from gridcast.data.prediction_files import read_series_table
from gridcast.monitoring import findings
from gridcast.monitoring.champion import monitor, watched_model
from gridcast.runtime import time_axis
from gridcast.sweep import events, plan, runner
from gridcast.sweep.plan import Plan
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, model_loading, promotion
from gridcast.tracking.store import open_store

HERE = Path(__file__).parent.absolute()
EXPERIMENT = HERE.parent / "experiments" / "retail_daily.yaml"
BLOCK = 12
"""Trading days of a block: two weeks and more."""
Table = pd.DataFrame


def level(table: Table) -> Table:
    """Return the table with half as many pieces again."""
    return table.assign(quantity=1.5 * table["quantity"])


def mix(table: Table) -> Table:
    """Return the table with three times the sales of every other product, and a third of the rest."""
    odd = table["product"].isin(sorted(table["product"].unique())[::2])
    return table.assign(quantity=table["quantity"] * np.where(odd, 3.0, 1 / 3))


def constant_price(table: Table) -> Table:
    """Return the table with the price of each product fixed at its first new value."""
    return table.assign(unit_price=table.groupby("product")["unit_price"].transform("first"))


def one_constant_price(table: Table) -> Table:
    """Return the table with the price of only the product with most rows fixed."""
    best = table["product"].value_counts().index[0]
    return table.assign(
        unit_price=constant_price(table)["unit_price"].where(table["product"] == best, table["unit_price"])
    )


def pence(table: Table) -> Table:
    """Return the table with prices in pence instead of pounds."""
    return table.assign(unit_price=100 * table["unit_price"])


def dozens(table: Table) -> Table:
    """Return the table with pieces counted in dozens."""
    return table.assign(quantity=table["quantity"] / 12)


DRIFTS: dict[str, Callable[[Table], Table]] = {
    "level x 1.5": level,
    "shifted mix": mix,
    "constant price": constant_price,
    "one constant price": one_constant_price,
    "price in pence": pence,
    "pieces in dozens": dozens,
}


def champion(folder: Path, cache: Path) -> findings.WatchedModel:
    """Train, record and promote one network of the experiment's own settings, in a store in `folder`."""
    content = yaml.safe_load(EXPERIMENT.read_text())
    content["grid"] = {"layer": ["GRU"]}
    content["selection"] |= {"when_beaten": "warn"}
    content["baselines"] = ["last value"]
    text = yaml.safe_dump(content, sort_keys=False)
    planned = plan.make_plan(config.parse(text), text, "jax", cache=windows.DATA)
    with contextlib.chdir(folder):
        store = open_store("retail-daily", f"sqlite:///{folder}/mlflow.db")
        result = runner.run_sweep(planned, store, WorkerSettings(1, "jax", cache), events.SweepEvents())
        promotion.promote(
            planned.experiment,
            store,
            result.winner,
            test_measures=result.test_measures,
            evaluate_champion=lambda _: {"mase": np.inf},
        )
        about = json.loads(mlflow_runs.read_artifact(store, result.sweep_id, "sweep.json"))
        return watched_model(
            model_loading.load_model("retail-daily", store.uri),
            store,
            parent=result.sweep_id,
            about=about,
            plan=planned,
        )


def rows(planned: Plan, steps: np.ndarray, times: pd.DatetimeIndex) -> Table:
    """Return the panel at `steps`, dated `times`, as the shop's data: a row per product and day with sales."""
    panel = planned.panel
    table = pd.DataFrame(
        {
            "date": np.tile(times, len(panel.series)),
            "product": np.repeat(panel.series, len(times)),
            "quantity": panel.target[:, steps].ravel(),
            "unit_price": panel.past[:, steps, 0].ravel(),
        }
    )
    return table[table["quantity"] > 0].reset_index(drop=True)


def fresh(planned: Plan, seed: int, count: int) -> Table:
    """Return `count` new trading days, made of blocks of the panel's own."""
    random, panel_times = np.random.default_rng(seed), planned.panel.times
    times = time_axis.steps_after(panel_times[-1], count, "D", planned.dataset.preprocessing.weekdays)
    steps: list[int] = []
    while len(steps) < count:
        candidates = np.flatnonzero(panel_times[:-BLOCK].day_of_week == times[len(steps)].day_of_week)
        start = int(random.choice(candidates))
        steps += range(start, start + BLOCK)
    return rows(planned, np.array(steps[:count]), times)


def monitored(model: findings.WatchedModel, table: Table, folder: Path) -> dict[str, Any]:
    """Return the findings of the monitor on `table`, written and read as a file."""
    path = folder / "actuals.csv"
    table.to_csv(path, index=False)
    report = monitor(model, read_series_table(path, model.preprocessing), findings.AlarmLimits())
    drifted = report.drift[report.drift["drifted"]]
    return {
        "alarm": bool(report.alarms),
        "error": any("MASE on" in alarm for alarm in report.alarms),
        "drift": [f"{row.feature} {row.view}" for row in drifted.itertuples()],
        "stuck": len(report.stuck),
        "ratio": report.ratio,
        "psi": {f"{row.feature} {row.view}": round(row.psi, 3) for row in report.drift.itertuples()},
        "usual_psi": {f"{row.feature} {row.view}": round(row.usual_psi, 3) for row in report.drift.itertuples()},
        "p_value": {f"{row.feature} {row.view}": round(row.p_value, 5) for row in report.drift.itertuples()},
    }


def line(name: str, results: list[dict[str, Any]]) -> str:
    """Return a line of the table."""
    counts = (sum(bool(result[kind]) for result in results) for kind in ("alarm", "error", "drift", "stuck"))
    numbers = "  ".join(f"{count:>6}" for count in counts)
    return f"{name:32}  {len(results):>5}  {numbers}  {np.median([result['ratio'] for result in results]):>10.2f}"


def main() -> None:
    """Measure, print a table, write results/drift.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    from gridcast.training import keras_backend  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keras_backend.start("jax", folder / "cache")
        model = champion(folder, folder / "cache")
        tables = [fresh(model.plan, seed, options.steps) for seed in range(options.seeds)]
        test = np.arange(*model.plan.panel.spans["test"])
        test_rows = rows(model.plan, test, model.plan.panel.times[test])
        results: dict[str, list[dict[str, Any]]] = {}
        print(f"{'new rows':32}  {'seeds':>5}  {'alarms':>6}  {'error':>6}  {'drift':>6}  {'stuck':>6}  error ratio")
        for kind, change in {"fresh": lambda table: table, **DRIFTS}.items():
            results[kind] = [monitored(model, change(table), folder) for table in tables]
            print(line(kind, results[kind]), flush=True)
        for kind, change in {"unchanged": lambda table: table, **DRIFTS}.items():
            results[f"test span, {kind}"] = [monitored(model, change(test_rows), folder)]
            print(line(f"test span, {kind}", results[f"test span, {kind}"]), flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "drift.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
