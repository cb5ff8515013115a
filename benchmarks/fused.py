"""Seconds per epoch and run: stock Keras on JAX, one run alone in a fused program, and siblings abreast.

    python benchmarks/fused.py [--widths 1 2 4] [--units 32 64] [--epochs 4]

For each shape of the retail grid, on one core; the smallest of some epochs after the one that compiles.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

from gridcast import config, execution, grid, plan
from gridcast.grid import Run
from gridcast.training import backend

HERE = Path(__file__).parent
RETAIL = HERE.parent / "experiments" / "retail_daily.yaml"


def stock(material, run: Run, epochs: int) -> float:
    """Seconds of an epoch of `run` on stock Keras."""
    from gridcast.training import fit  # noqa: PLC0415 - Keras, once its backend is started

    network = fit.compiled(material, run)
    training, validation = fit.batches(material, run)
    found = []
    for _ in range(epochs):
        started = time.perf_counter()
        network.fit(training, validation_data=validation, epochs=1, shuffle=False, verbose=0)
        found.append(time.perf_counter() - started)
    return min(found[1:])


def fused(material, run: Run, width: int, epochs: int) -> float:
    """Seconds of an epoch of `run`, its share when `width` of its kind train abreast."""
    from gridcast.training.fused import Lane, Program  # noqa: PLC0415 - the same

    program = Program(material, run, width)
    active = {slot: Lane(program, run, None, epochs) for slot in range(width)}
    for slot, lane in active.items():
        program.put(slot, lane.begin({}))
    found = []
    for _ in range(epochs):
        started = time.perf_counter()
        program.epoch(active)
        found.append((time.perf_counter() - started) / width)
    return min(found[1:])


def main() -> None:
    """Measure, print a table, write results/fused.json."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--widths", type=int, nargs="+", default=[1, 2, 4])
    asked.add_argument("--epochs", type=int, default=4)
    asked.add_argument("--batch", type=int, nargs="+", default=[32, 64])
    asked.add_argument("--units", type=int, nargs="+", help="in place of the grid's")
    asked.add_argument("--only", default="", help="shapes whose name contains this")
    asked.add_argument("--no-stock", action="store_true")
    options = asked.parse_args()
    os.environ |= execution.ENVIRONMENT
    execution.begin(0, HERE / "results")
    backend.start("jax", HERE / ".data")
    experiment = config.read(RETAIL)
    planned = plan.make(experiment, "", "jax", HERE / ".data")
    found = [grid.program(run) for run in planned.runs.values()]
    if options.units:
        found = [shape.model_copy(update={"units": units}) for shape in found for units in options.units]
    shapes = dict.fromkeys(found)
    rows = []
    for shape in shapes:
        run = Run(shape.model_copy(update={"dropout": 0.2, "learning_rate": 0.0005}), 0)
        name = plan.describe(run.configuration)
        if shape.batch_size not in options.batch or options.only not in name:
            continue
        backend.forget()
        row = {"shape": name, "units": shape.units}
        row |= {} if options.no_stock else {"stock": stock(planned.material, run, options.epochs)}
        row |= {f"{width} abreast": fused(planned.material, run, width, options.epochs) for width in options.widths}
        rows.append(row)
        told = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if isinstance(value, float))
        print(f"{row['shape']:42} {told}", flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    (HERE / "results" / "fused.json").write_text(json.dumps({**machine, "seconds_per_epoch": rows}, indent=1))


if __name__ == "__main__":
    main()
