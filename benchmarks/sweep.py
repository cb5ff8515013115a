"""gridcast against the loops that people write today: the same grid, windows, epochs and early stopping.

    .venv/bin/python benchmarks/sweep.py [--quick | --medium | --shapes | --full] [--peers NAME ...] [--repeats N]

Every contender starts in a fresh process and a fresh folder, imports its tools, trains the grid and
records what its own documentation recommends. gridcast is started as a user would start it, first
without compiled programs on disk, and then, in a new project, with those of the first start. Prints a table
and writes benchmarks/results/sweep-GRID.json; a peer's virtual environment is created
when it is first needed, outside the measured time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import measure
import psutil
from peers import windows

from gridcast.sweep.worker_process import available_cores

HERE = Path(__file__).parent.absolute()
GRIDS = {
    "quick": HERE / "grids" / "quick.yaml",
    "medium": HERE / "grids" / "medium.yaml",
    "shapes": HERE / "grids" / "shapes.yaml",
    "full": HERE.parent / "experiments" / "retail_daily.yaml",
}
COLD, WARM = "gridcast", "gridcast, warm cache"
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}
"""Switches telemetry off, so that no time goes into it."""
CACHE, SPOOL = ".gridcast", "spool"
"""Where gridcast keeps compiled programs, and the only part of it that holds results."""


@dataclass(frozen=True)
class Peer:
    """A script in `peers/`, its Keras backend, and its name in the table."""

    script: str
    backend: str
    title: str


PEERS = {
    "plain": Peer("plain_loop.py", "tensorflow", "plain Keras loop"),
    "keras_tuner_tensorflow": Peer("keras_tuner_grid.py", "tensorflow", "KerasTuner, TensorFlow"),
    "keras_tuner_jax": Peer("keras_tuner_grid.py", "jax", "KerasTuner, JAX"),
    "optuna": Peer("optuna_grid.py", "tensorflow", "Optuna"),
    "ray": Peer("ray_grid.py", "tensorflow", "Ray Tune"),
    "sklearn": Peer("sklearn_grid.py", "tensorflow", "scikit-learn GridSearchCV"),
}


@dataclass(frozen=True)
class Measurement:
    """One contender in one repeat: its cost, its best loss, and its records in MLflow.

    `grid_seconds` are those of the grid alone, once the tools are imported and the windows read, where a
    peer reports them; `failed` is the end of its output if it failed.
    """

    contender: str
    repeat: int
    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float
    best_val_loss: float | None
    trained: int
    runs: int
    curves: int
    models: int
    grid_seconds: float | None
    failed: str | None


MEASURES = ("wall_seconds", "cpu_seconds", "peak_megabytes", "best_val_loss", "runs", "curves", "models")


def main() -> None:
    """Measure what the command line requests."""
    arguments = _arguments()
    interpreters = {name: environments.python(name) for name in arguments.peers}
    interpreters_of_all = {COLD: Path(sys.executable), **interpreters}
    about = {
        "grid": arguments.grid,
        "experiment": GRIDS[arguments.grid].read_text(encoding="utf-8"),
        "machine": machine(),
        "versions": {name: environments.versions(path) for name, path in interpreters_of_all.items()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as inputs:
        count = windows.write(GRIDS[arguments.grid], Path(inputs))
        print(f"{arguments.grid} grid: {count} runs, {arguments.repeats} repeats", flush=True)
        for repeat in range(1, arguments.repeats + 1):
            for done in _repeat(arguments.grid, repeat, Path(inputs), interpreters):
                outcome = f"{done.wall_seconds:7.1f} s" if done.failed is None else "failed:\n" + done.failed
                print(f"  {repeat}  {title(done.contender):<26}{outcome}", flush=True)
                measurements.append(done)
                _write(about, measurements)
    print(table(summary(measurements)))
    failed = dict.fromkeys(title(done.contender) for done in measurements if done.failed is not None)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def summary(measurements: list[Measurement]) -> dict[str, dict[str, Any]]:
    """Return, by contender, the median of each measure, and the wall time as a multiple of gridcast's.

    `ratio` compares with gridcast's cold start and `ratio_warm` with its warm one, each within the
    same repeat: median, minimum and maximum over the repeats. Failed repeats are left out.
    """
    good = [done for done in measurements if done.failed is None]
    wall = {(done.contender, done.repeat): done.wall_seconds for done in good}
    by_contender = {}
    for contender in dict.fromkeys(done.contender for done in good):
        repeats = [done for done in good if done.contender == contender]
        by_contender[contender] = {
            "repeats": len(repeats),
            **{name: statistics.median(getattr(done, name) for done in repeats) for name in MEASURES},
            "wall_seconds_spread": [
                min(done.wall_seconds for done in repeats),
                max(done.wall_seconds for done in repeats),
            ],
        }
        for name, reference in (("ratio", COLD), ("ratio_warm", WARM)):
            pairs = [(done.wall_seconds, wall.get((reference, done.repeat))) for done in repeats]
            ratios = [seconds / other for seconds, other in pairs if other]
            by_contender[contender][name] = [statistics.median(ratios), min(ratios), max(ratios)] if ratios else None
    return by_contender


def _repeat(grid: str, repeat: int, inputs: Path, interpreters: dict[str, Path]) -> Iterator[Measurement]:
    """Each contender in turn, in a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        axes = json.loads((inputs / "grid.json").read_text())["axes"]
        project, cache = Path(name, "project"), Path(name, "cache")
        yield gridcast(COLD, repeat, GRIDS[grid], project, axes)
        # A new project with nothing but the cache, at the same path: the names of JAX's cached programs depend on it.
        (project / CACHE).mkdir(exist_ok=True)
        shutil.copytree(project / CACHE, cache, ignore=shutil.ignore_patterns(SPOOL))
        shutil.rmtree(project)
        shutil.copytree(cache, project / CACHE)
        yield gridcast(WARM, repeat, GRIDS[grid], project, axes)
        shutil.rmtree(project)
        for peer, interpreter in interpreters.items():
            folder = Path(name, peer)
            shutil.copytree(inputs, folder)
            command = [str(interpreter), str(HERE / "peers" / PEERS[peer].script), str(folder)]
            cost = measure.run(command, folder, ENVIRONMENT | {"KERAS_BACKEND": PEERS[peer].backend})
            yield measured(peer, repeat, cost, folder, axes)
            shutil.rmtree(folder)


def gridcast(name: str, repeat: int, experiment: Path, folder: Path, axes: dict[str, Any]) -> Measurement:
    """Measure `gridcast run` in the project `folder`, which is new or contains only a cache."""
    shutil.copytree(windows.DATA, folder / "data")
    # The loops that it is compared with train no further seeds.
    text = experiment.read_text(encoding="utf-8") + "\nsearch: {confirm: none}\n"
    (folder / "experiment.yaml").write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("gridcast")), "run", "experiment.yaml"]
    cost = measure.run(command, folder, ENVIRONMENT)
    return measured(name, repeat, cost, folder, axes)


def measured(name: str, repeat: int, cost: measure.Cost, folder: Path, axes: dict[str, Any]) -> Measurement:
    """Return `cost` with the contents of `folder`: the store, and the result file that a peer writes."""
    done = subprocess.run(
        [sys.executable, HERE / "recorded.py", folder, *axes], check=True, capture_output=True, text=True
    )
    counts, result = json.loads(done.stdout), folder / "result.json"
    values = {
        "trained": counts["runs"],
        "grid_seconds": None,
        **counts,
        **(json.loads(result.read_text()) if result.exists() else {}),
    }
    failed, count = None, math.prod(map(len, axes.values()))
    if cost.code or values["best_val_loss"] is None or values["trained"] != count:
        lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        failed = "\n".join([*lines[-20:], f"exit code {cost.code}, {values['trained']} of {count} runs"])
    return Measurement(
        contender=name,
        repeat=repeat,
        wall_seconds=cost.wall_seconds,
        cpu_seconds=cost.cpu_seconds,
        peak_megabytes=cost.peak_megabytes,
        failed=failed,
        **values,
    )


def _write(about: dict[str, Any], measurements: list[Measurement]) -> None:
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    content = {
        **about,
        "summary": summary(measurements),
        "measurements": [dataclasses.asdict(done) for done in measurements],
    }
    (results / f"sweep-{about['grid']}.json").write_text(json.dumps(content, indent=1) + "\n")


def table(summaries: dict[str, dict[str, Any]]) -> str:
    """Return the summary as aligned text."""
    columns = ("wall s", "ratio", "CPU s", "peak MB", "val loss", "runs", "curves", "models")
    lines = [("contender", *columns)]
    for contender, row in summaries.items():
        ratio = "{:.2f} ({:.2f}-{:.2f})".format(*row["ratio"]) if row["ratio"] else "-"
        seconds = f"{row['wall_seconds']:.1f}", ratio, f"{row['cpu_seconds']:.1f}"
        rest = f"{row['peak_megabytes']:.0f}", f"{row['best_val_loss']:.5f}"
        lines.append((title(contender), *seconds, *rest, *(f"{row[name]:.0f}" for name in columns[-3:])))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # The first column is aligned left, the others right.
    signs = ["<", *[">"] * len(columns)]
    rows = ["  ".join(map(_aligned, line, signs, widths)) for line in lines]
    rows.append("Medians. Ratio: wall time over that of gridcast in the same repeat, with minimum and maximum.")
    rows.append("The last three: runs of the grid that MLflow holds, those with a curve, those with a model.")
    return "\n".join(rows)


def _aligned(text: str, sign: str, width: int) -> str:
    return f"{text:{sign}{width}}"


def title(contender: str) -> str:
    return PEERS[contender].title if contender in PEERS else contender


def machine() -> dict[str, Any]:
    """Return a description of this machine and its load."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": available_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "load_before": psutil.getloadavg()[0],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="gridcast against the loops that people write today")
    grid = parser.add_mutually_exclusive_group()
    for name in GRIDS:
        grid.add_argument(f"--{name}", dest="grid", action="store_const", const=name, help=f"the {name} grid")
    parser.add_argument("--peers", nargs="*", choices=PEERS, metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.set_defaults(grid="quick")
    arguments = parser.parse_args()
    if arguments.peers is None:
        # The full grid takes some peers hours: they run only on request.
        arguments.peers = [] if arguments.grid == "full" else list(PEERS)
    return arguments


if __name__ == "__main__":
    main()
