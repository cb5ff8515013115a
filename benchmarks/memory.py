"""Memory of the parent and the workers over 500 runs.

    .venv/bin/python benchmarks/memory.py [runs]

A real sweep on generated data: 500 small networks of 25 shapes, each recorded in a SQLite store. The
resident memory of the parent and of each worker should stay flat; it is read whenever a run ends. Prints a table and
writes benchmarks/results/memory.json.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from gridcast import config
from gridcast.sweep import dask_workers, events, plan, runner, worker_job, worker_process
from gridcast.tracking import store

EXPERIMENT = """
version: 1
name: memory
data: {{source: sales.csv, time: date, series: product, target: quantity}}
window: {{lookback: 7}}
baseline: {{layer: GRU, batch_size: 32}}
grid:
  units: [4, 6, 8, 10, 12]
  dropout: [0.0, 0.1, 0.2, 0.3, 0.4]
  learning_rate: {rates}
training: {{epochs: 3, patience: 3}}
"""


class MemoryEvents(events.SweepEvents):
    """Reads the memory of the processes whenever a run ends."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, list[int]]] = []

    def finished(self, name: str, cost: float, metrics: object) -> None:
        parent = psutil.Process()
        forker = next(child for child in parent.children() if "forkserver" in " ".join(child.cmdline()))
        workers = forker.children()
        self.samples.append((_megabytes(parent), sorted(_megabytes(worker) for worker in workers)))


def _megabytes(process: psutil.Process) -> int:
    try:
        return round(process.memory_info().rss / 2**20)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    rates = np.geomspace(1e-4, 1e-2, runs // 25).round(7).tolist()
    results = Path(__file__).parent.absolute() / "results" / "memory.json"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        dates = pd.date_range("2023-01-02", periods=200).strftime("%Y-%m-%d")
        quantity = np.random.default_rng(0).normal(10, 1, 200).round(2)
        pd.DataFrame({"date": dates, "product": "apple", "quantity": quantity}).to_csv("sales.csv", index=False)
        planned = plan.make_plan(config.parse(EXPERIMENT.format(rates=rates)), "", "jax")
        memory, started = MemoryEvents(), time.perf_counter()
        place = worker_job.WorkerSettings(2, "jax", Path(".gridcast"))
        runner.run_sweep(planned, store.open_store("memory"), place, memory)
        seconds = time.perf_counter() - started
        os.chdir("/")
    print(f"{len(planned.runs)} runs in {seconds:.0f} s")
    print(f"each worker is replaced after {dask_workers.TASKS_PER_WORKER} tasks")
    print(f"{'runs':>6}  {'parent MB':>9}  workers MB")
    step = max(1, len(memory.samples) // 10)
    for count in range(step, len(memory.samples) + 1, step):
        parent, workers = memory.samples[count - 1]
        print(f"{count:>6}  {parent:>9}  {' '.join(map(str, workers))}")
    results.parent.mkdir(exist_ok=True)
    results.write_text(
        json.dumps(
            {
                "machine": {
                    "cpu": platform.processor(),
                    "cores": worker_process.available_cores(),
                    "system": platform.platform(),
                },
                "runs": len(planned.runs),
                "seconds": seconds,
                "recycled_after": dask_workers.TASKS_PER_WORKER,
                "megabytes": memory.samples,
            }
        )
    )


if __name__ == "__main__":
    main()
