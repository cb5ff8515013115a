"""Seconds per million rows and peak memory, from a file to a trained epoch: 100,000 to 10 million rows.

    .venv/bin/python benchmarks/panel_scale.py [--series 100 1000 10000] [--csv]

Each size goes through a fresh process, which reads a generated table (date, series, value, price),
makes the plan, counts the windows and trains one epoch of a GRU of 8 units on the fused engine,
twice: `compile` finds no compiled program, `epoch` finds it on disk. The process first does all of
that on a hundred rows. Its memory then, with every package loaded and a program compiled, is the
baseline. The memory of a stage is the peak of the process (VmHWM) within the stage, less
the baseline; it includes what earlier stages left. Memory is reported as a multiple of two arrays; the
limit holds for the first one and the largest size, since in smaller ones the compiler outweighs the rows:

- tidy: the table as pandas reads it, 38 bytes per row (two numbers, a stamp, a name of six letters);
- channels: the input of the networks, float32 (series, steps, 4), 16 bytes per row: the value, the
  price, sine and cosine of the weekday.

Prints a table and writes benchmarks/results/panel_scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast import config
from gridcast.data import sources
from gridcast.data.table import Table
from gridcast.sweep import plan, worker_process

HERE = Path(__file__).parent
DAYS, LIMIT = 1000, 3.0
EXPERIMENT = """
version: 1
name: scale
data: {{source: {source}, time: date, series: series, target: value, past: [price], future: [day_of_week]}}
window: {{lookback: 7, horizon: 1}}
transform: {{scale: standard}}
baseline: {{layer: GRU, units: 8, dropout: 0.0, batch_size: 4096}}
training: {{epochs: 1, engine: fused}}
"""


def table(series: int, days: int) -> pd.DataFrame:
    """Return random prices, and values with a weekly cycle: series after series, every day of each."""
    random, count = np.random.default_rng(0), series * days
    week = np.tile(np.sin(2 * np.pi * np.arange(days) / 7), series)
    return pd.DataFrame(
        {
            "date": np.tile(pd.date_range("2020-01-01", periods=days, unit="us"), series),
            "series": np.repeat(pd.array([f"s{number:05}" for number in range(series)], "str"), days),
            "value": random.normal(10 + 4 * week).round(3),
            "price": random.uniform(1, 2, count).round(2),
        }
    )


class Meter:
    """Seconds and peak memory of each stage."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self.start()

    def start(self) -> None:
        """Begin a stage: reset the peak."""
        Path("/proc/self/clear_refs").write_text("5")
        self.started = time.perf_counter()

    def done(self, stage: str) -> None:
        """Record the `stage` that has ended."""
        self.stages[stage] = {"seconds": time.perf_counter() - self.started, "peak": memory("VmHWM")}
        self.start()


def memory(field: str) -> int:
    """Return the bytes of this process: VmRSS, or VmHWM for the peak so far."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].removesuffix("kB")) * 1024


def way(path: str, cache: Path, load: Callable[..., Table], meter: Meter) -> tuple[int, int]:
    """Take the table at `path` through every stage; return the bytes of its channels and the number of windows."""
    from gridcast.training import fused_fit  # noqa: PLC0415 - Keras, once its backend is started

    def measured_load(*arguments: Any) -> Table:
        frame = load(*arguments)
        meter.done("read")
        return frame

    plan.sources.load_table = measured_load
    planned = plan.make_plan(config.parse(EXPERIMENT.format(source=path)), "", "jax")
    meter.done("panel")
    # A worker gets the dataset only.
    dataset, run = planned.dataset, planned.reference_run
    del planned
    windows = len(dataset.origins("train", run.configuration.lookback))
    meter.done("windows")
    for stage in ("compile", "epoch"):
        fused_fit.train(
            replace(dataset, training=dataset.training.model_copy(update={"epochs": 1})),
            [run],
            state_paths=[None],
            siblings=1,
        )
        meter.done(stage)
    return dataset.channels.nbytes, windows


def child(path: str, warm: str, cache: Path) -> None:
    """Measure one table and print the results as JSON."""
    from gridcast.training import keras_backend  # noqa: PLC0415

    keras_backend.start("jax", cache)
    load = sources.load_table
    way(warm, cache, load, Meter())
    before, meter = memory("VmRSS"), Meter()
    channels, windows = way(path, cache, load, meter)
    print(json.dumps({"baseline": before, "channels": channels, "windows": windows, "stages": meter.stages}))


def measure(series: int, suffix: str, folder: Path) -> dict[str, Any]:
    """Return the results of a fresh process on a table of `series`."""
    paths = []
    for name, (many, days) in {"warm": (2, 50), "table": (series, DAYS)}.items():
        path = folder / f"{name}{suffix}"
        frame = table(many, days)
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path, index=False)
        paths.append(str(path))
    tidy, rows = int(frame.memory_usage(deep=True, index=False).sum()), len(frame)
    del frame
    command = [sys.executable, str(HERE / "panel_scale.py"), "--child", *reversed(paths), str(folder)]
    ended = subprocess.run(
        command, env=os.environ | worker_process.WORKER_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    result = json.loads(ended.stdout.splitlines()[-1])
    for stage in result["stages"].values():
        more = max(0, stage["peak"] - result["baseline"])
        stage |= {
            "per_million": stage["seconds"] / rows * 1e6,
            "tidy": more / tidy,
            "channels": more / result["channels"],
        }
    return {"rows": rows, "format": suffix[1:], "tidy": tidy, **result}


def main() -> None:
    """Measure, print a table, write results/panel_scale.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--csv", action="store_true", help="the same from CSV files")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child[:2], Path(options.child[2]))
        return
    sizes = []
    header = f"{'rows':>10}  {'format':7}  {'stage':7}  {'seconds':>8}  {'s per million':>13}"
    print(f"{header}  {'x tidy':>6}  {'x channels':>10}")
    for suffix in [".parquet", ".csv"] if options.csv else [".parquet"]:
        for series in options.series:
            with tempfile.TemporaryDirectory() as folder:
                size = measure(series, suffix, Path(folder))
            sizes.append(size)
            for name, stage in size["stages"].items():
                figures = f"{stage['seconds']:>8.2f}  {stage['per_million']:>13.2f}"
                figures += f"  {stage['tidy']:>6.2f}  {stage['channels']:>10.2f}"
                print(f"{size['rows']:>10,}  {size['format']:7}  {name:7}  {figures}", flush=True)
        most = max(stage["tidy"] for stage in size["stages"].values())
        print(f"{'':>10}  at most {most:.2f} x the tidy table: {'within' if most <= LIMIT else 'BEYOND'} {LIMIT:g}")
    (HERE / "results").mkdir(exist_ok=True)
    machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    (HERE / "results" / "panel_scale.json").write_text(json.dumps({**machine, "sizes": sizes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
