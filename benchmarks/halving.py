"""Successive halving against the whole retail grid, seed by seed: best loss and training time.

    .venv/bin/python benchmarks/halving.py [--seeds S ...]

Each seed trains all 216 runs, then searches the same grid with `search.strategy: halving`, each in a new
project without compiled programs. Prints seconds of training, the best validation loss and where the
wall time of the whole grid went, and writes benchmarks/results/halving.json; a seed takes some fifteen
minutes, so a later call keeps the results in that file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import measure
import yaml
from peers import windows

from sweep import ENVIRONMENT, GRIDS, HERE, machine

RESULTS = HERE / "results" / "halving.json"
RUNS = (
    "import json, sys, mlflow\n"
    "from gridcast.tracking import mlflow_runs, store\n"
    "store = store.open_store(sys.argv[1], 'sqlite:///mlflow.db')\n"
    "query = \"tags.`gridcast.kind` = '{}'\"\n"
    "runs = [r for k in ('run', 'stopped') for r in mlflow_runs.search_runs(store, query.format(k))]\n"
    "print(json.dumps([{'kind': r.data.tags['gridcast.kind'], **r.data.metrics} for r in runs]))\n"
)
"""Run by a separate process: within one, MLflow would go on reading a store that was removed and created again."""


@dataclass(frozen=True)
class SearchBenchmark:
    """One strategy with one seed: seconds of training and of the wall, the best validation loss of a whole run.

    `time` is the line of `gridcast run` on where its time went.
    """

    seed: int
    strategy: str
    runs: int
    fit_seconds: float
    wall_seconds: float
    cpu_seconds: float
    best_val_loss: float
    time: str


def main() -> None:
    """Measure the seeds that are missing, and print all."""
    parser = argparse.ArgumentParser(description="halving against the whole retail grid")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4], metavar="S")
    arguments = parser.parse_args()
    done = [SearchBenchmark(**row) for row in json.loads(RESULTS.read_text())["searched"]] if RESULTS.exists() else []
    for seed in arguments.seeds:
        for strategy in ("grid", "halving"):
            if any((search.seed, search.strategy) == (seed, strategy) for search in done):
                continue
            done.append(_search(seed, strategy))
            print(f"seed {seed}, {strategy}: {done[-1].wall_seconds:.0f} s. {done[-1].time}", flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            content = {"machine": machine(), "searched": [dataclasses.asdict(search) for search in done]}
            RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(table(done))


def _search(seed: int, strategy: str) -> SearchBenchmark:
    experiment = yaml.safe_load(GRIDS["full"].read_text(encoding="utf-8"))
    experiment["training"]["seeds"] = [seed]
    experiment["search"] = {"strategy": strategy, "confirm": "none"}
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        folder = Path(name)
        shutil.copytree(windows.DATA, folder / "data")
        (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False), encoding="utf-8")
        gridcast = Path(sys.executable).with_name("gridcast")
        cost = measure.run([str(gridcast), "run", "experiment.yaml"], folder, ENVIRONMENT)
        output = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        if cost.code:
            sys.exit(f"seed {seed}, {strategy}: exit code {cost.code}\n{output[-2000:]}")
        command = [sys.executable, "-c", RUNS, experiment["name"]]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    runs = json.loads(printed.stdout)
    return SearchBenchmark(
        seed=seed,
        strategy=strategy,
        runs=len(runs),
        fit_seconds=sum(run["fit_seconds"] for run in runs),
        wall_seconds=cost.wall_seconds,
        cpu_seconds=cost.cpu_seconds,
        best_val_loss=min(run["best_val_loss"] for run in runs if run["kind"] == "run"),
        time=" ".join(re.findall(r"^Time: .*$", output, re.MULTILINE)),
    )


def table(done: list[SearchBenchmark]) -> str:
    """Return the seeds that have both strategies, as aligned text."""
    searches = {(search.seed, search.strategy): search for search in done}
    lines = [
        f"{'seed':>4}{'grid: training s':>18}{'wall s':>8}{'halving: training s':>21}"
        f"{'wall s':>8}{'share':>8}{'loss':>9}"
    ]
    shares, above = [], []
    for seed in sorted({search.seed for search in done}):
        if (seed, "grid") not in searches or (seed, "halving") not in searches:
            continue
        grid, halving = searches[seed, "grid"], searches[seed, "halving"]
        shares.append(100 * halving.fit_seconds / grid.fit_seconds)
        above.append(100 * (halving.best_val_loss / grid.best_val_loss - 1))
        lines.append(
            f"{seed:>4}{grid.fit_seconds:>18.0f}{grid.wall_seconds:>8.0f}{halving.fit_seconds:>21.0f}"
            f"{halving.wall_seconds:>8.0f}{shares[-1]:>6.1f} %{above[-1]:>+7.2f} %"
        )
    if shares:
        lines.append(
            f"Halving: {statistics.median(shares):.1f} % of the training time, loss at most {max(above):+.2f} %."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
