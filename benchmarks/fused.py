"""Seconds per epoch and run: stock Keras on JAX, one run alone in a compiled epoch, and siblings side by side.

    python benchmarks/fused.py [--widths 1 2 4] [--units 32 64] [--epochs 4]

For each shape of the retail grid, on one core; the fastest of several epochs after the one that compiles.
GFLOP/s are those of the width that a sweep chooses, beside the peak that a large matrix product reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

from gridcast import config
from gridcast.config import Configuration, grid
from gridcast.config.grid import Run
from gridcast.sweep import plan, worker_process
from gridcast.training import keras_backend
from gridcast.training.lane_count import lane_count

HERE = Path(__file__).parent
RETAIL = HERE.parent / "experiments" / "retail_daily.yaml"


def stock(dataset, run: Run, epochs: int) -> float:
    """Return the seconds of an epoch of `run` on stock Keras."""
    from gridcast.training import keras_fit  # noqa: PLC0415 - Keras, once its backend is started

    network = keras_fit.compiled_network(dataset, run)
    training, validation = keras_fit.make_batches(dataset, run)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        network.fit(training, validation_data=validation, epochs=1, shuffle=False, verbose=0)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def fused(dataset, run: Run, width: int, epochs: int) -> float:
    """Return the seconds of an epoch of `run`, its share when `width` siblings train side by side."""
    from gridcast.training.fused_fit import train_epoch  # noqa: PLC0415 - Keras, once its backend is started
    from gridcast.training.fused_program import FusedProgram  # noqa: PLC0415
    from gridcast.training.lane import Lane  # noqa: PLC0415

    program = FusedProgram(dataset, run, width)
    active = {slot: Lane(program, run, None, epochs) for slot in range(width)}
    for slot, lane in active.items():
        program.put(slot, lane.begin())
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        train_epoch(program, active)
        seconds.append((time.perf_counter() - started) / width)
    return min(seconds[1:])


def operations(shape: Configuration, dataset) -> float:
    """Return the floating-point operations of an epoch in recurrent layer and attention: two per weight and use.

    A training step counts three passes, one forward and a backward one of twice the cost; validation counts one.
    """
    training, validation = (len(dataset.origins(span, shape.lookback)) for span in ("train", "validation"))
    gates = {"GRU": 3, "LSTM": 4}[shape.layer]
    weights = gates * shape.units * (shape.units + dataset.channels.shape[-1])
    weights += shape.units**2 if shape.attention else 0
    return 2.0 * weights * shape.lookback * (3 * training + validation)


def peak() -> float:
    """Return the GFLOP/s of a large product of float32 matrices, the best of several."""
    import jax  # noqa: PLC0415 - the same
    import jax.numpy as jnp  # noqa: PLC0415

    size = 2048
    product = jax.jit(jnp.matmul)
    matrix = jnp.ones((size, size))
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 2e-9 * size**3 / min(seconds[1:])


def main() -> None:
    """Measure, print a table, write results/fused.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--units", type=int, nargs="+", help="instead of those of the grid")
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    parser.add_argument("--no-stock", action="store_true")
    options = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    os.environ |= worker_process.WORKER_ENVIRONMENT
    worker_process.set_up_worker(0, HERE / "results")
    keras_backend.start("jax", HERE / ".data")
    experiment = config.read(RETAIL)
    planned = plan.make_plan(experiment, "", "jax", cache=HERE / ".data")
    found = [grid.shared_program(run).configuration for run in planned.runs.values()]
    if options.units:
        found = [shape.model_copy(update={"units": units}) for shape in found for units in options.units]
    shapes = dict.fromkeys(found)
    rows = []
    for shape in shapes:
        run = Run(shape.model_copy(update={"dropout": 0.2, "learning_rate": 0.0005}), 0)
        name = plan.configuration_name(run.configuration)
        if shape.batch_size not in options.batch or options.only not in name:
            continue
        keras_backend.free_programs()
        row = {"shape": name, "units": shape.units}
        row |= {} if options.no_stock else {"stock": stock(planned.dataset, run, options.epochs)}
        row |= {f"{width} lanes": fused(planned.dataset, run, width, options.epochs) for width in options.widths}
        width = lane_count(run.configuration, 9, gpu=bool(worker_process.available_gpus()))
        if f"{width} lanes" in row:
            chosen = row[f"{width} lanes"]
            row |= {"GFLOP/s": operations(shape, planned.dataset) / chosen / 1e9}
            row |= {} if options.no_stock else {"stock / chosen": row["stock"] / chosen}
        rows.append(row)
        figures = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float))
        print(f"{row['shape']:42} {figures}", flush=True)
    best = peak()
    print(f"peak of a large matrix product: {best:.0f} GFLOP/s")
    machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    (HERE / "results" / "fused.json").write_text(
        json.dumps({**machine, "peak_gflops": best, "seconds_per_epoch": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
