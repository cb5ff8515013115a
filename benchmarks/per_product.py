"""A network of its own for each of 100 products, four configurations of each: gridcast against the plain loop.

    .venv/bin/python benchmarks/per_product.py [--sample N] [--only ours|peer]

gridcast runs `grids/per_product.yaml` as a user would, in a new project without compiled programs,
`gridcast run` and `gridcast promote`; the champion then forecasts for every product. The loop
(`peers/per_product_loop.py`) has the same windows, epochs and early stopping. The whole of it takes more
than an hour, so it is measured on a random sample of the products (seed 0), and the seconds of its loop,
without start and imports, are scaled to all. Both validation losses are those of the sample: the best
of each product, mean over products. Prints a table and writes benchmarks/results/per_product.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import environments
import measure
import numpy as np
from peers import windows

import sweep

HERE = Path(__file__).parent.absolute()
EXPERIMENT, LOOP = HERE / "grids" / "per_product.yaml", HERE / "peers" / "per_product_loop.py"
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "KERAS_BACKEND": "tensorflow"}
STORE = "sqlite:///mlflow.db"


def main() -> None:
    """Measure what the command line asks for."""
    arguments = _arguments()
    if arguments.answers:
        answers(*arguments.answers)
        return
    interpreters = {"gridcast": Path(sys.executable), "plain": environments.python("plain")}
    told: dict[str, Any] = {
        "experiment": EXPERIMENT.read_text(encoding="utf-8"),
        "machine": sweep.machine(),
        "versions": {name: environments.versions(path) for name, path in interpreters.items()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        given, project = Path(name, "given"), Path(name, "project")
        given.mkdir()
        runs = windows.write(EXPERIMENT, given)
        products = json.loads((given / "grid.json").read_text())["series"]
        codes = sorted(np.random.default_rng(0).choice(len(products), arguments.sample, replace=False).tolist())
        sample = [products[code] for code in codes]
        told |= {"runs": runs, "products": len(products), "sample": sample}
        print(f"{len(products)} products, {runs} runs; the loop on {', '.join(sample)}", flush=True)
        if arguments.only != "peer":
            told["gridcast"] = ours(project, sample)
        if arguments.only != "ours":
            told["loop"] = loop(interpreters["plain"], given, codes, len(products))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "per_product.json").write_text(json.dumps(told, indent=1) + "\n")
    print(table(told))


def ours(project: Path, sample: list[str]) -> dict[str, Any]:
    """Cost and finds of gridcast in the new folder `project`. Exits where a command fails."""
    shutil.copytree(windows.DATA, project / "data")
    shutil.copy(EXPERIMENT, project / "experiment.yaml")
    gridcast = str(Path(sys.executable).with_name("gridcast"))
    run = _done(measure.run([gridcast, "run", "experiment.yaml"], project, ENVIRONMENT), project)
    promoted = _done(measure.run([gridcast, "promote", "experiment.yaml"], project, ENVIRONMENT), project)
    command = [sys.executable, str(HERE / "per_product.py"), "--answers", str(project), ",".join(sample)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return {
        **vars(run + promoted),
        "promote_seconds": promoted.wall_seconds,
        **json.loads(found.stdout.splitlines()[-1]),
    }


def answers(folder: str, sample: str) -> None:
    """Print, as JSON, what the store in `folder` holds: runs, losses of the sample, products that are answered for.

    It wants a process of its own, as `recorded.py` does.
    """
    import mlflow  # noqa: PLC0415 - not needed by the parent
    import pandas as pd  # noqa: PLC0415

    os.chdir(folder)  # the store names its artifacts from there
    mlflow.set_tracking_uri(STORE)
    runs = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.`gridcast.kind` = 'run'", max_results=5000
    )
    best = runs.groupby("tags.gridcast.series")["metrics.best_val_loss"].min()
    sales = pd.read_parquet("data/online-retail.parquet")
    history = sales[sales["product"].isin(best.index)]
    forecasts = mlflow.pyfunc.load_model("models:/per-product@champion").predict(history)
    finite = forecasts[np.isfinite(forecasts["forecast"])]
    found = {"val_loss": float(best[sample.split(",")].mean()), "trained": len(runs)}
    print(json.dumps({**found, "answered": int(finite["product"].nunique())}))


def loop(interpreter: Path, given: Path, codes: list[int], products: int) -> dict[str, Any]:
    """Cost and finds of the plain loop on the products of `codes`, and its seconds for all `products`."""
    cost = _done(measure.run([str(interpreter), str(LOOP), str(given), *map(str, codes)], given, ENVIRONMENT), given)
    found = json.loads((given / "result.json").read_text())
    times = products / len(codes)
    whole = cost.wall_seconds + found["seconds"] * (times - 1)
    bare, losses = whole - found["logging_seconds"] * times, list(found.pop("best").values())
    return {**vars(cost), **found, "all_seconds": whole, "unlogged_seconds": bare, "val_loss": float(np.mean(losses))}


def table(told: dict[str, Any]) -> str:
    """What was measured, as aligned text."""
    lines = [("contender", "products", "wall s", "CPU s", "peak MB", "all products s", "val loss")]
    for name in ("gridcast", "loop"):
        if row := told.get(name):
            count = told["products"] if name == "gridcast" else len(told["sample"])
            cost = f"{row['wall_seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_megabytes']:.0f}"
            whole = row.get("all_seconds", row["wall_seconds"])
            lines.append((name, f"{count}", *cost, f"{whole:.0f}", f"{row['val_loss']:.5f}"))
    notes = []
    if "gridcast" in told:
        own = told["gridcast"]
        notes.append(f"The champion answers for {own['answered']} products; {own['trained']} runs are recorded.")
    if "gridcast" in told and "loop" in told:
        whole, bare = (
            told["loop"][name] / told["gridcast"]["wall_seconds"] for name in ("all_seconds", "unlogged_seconds")
        )
        notes.append(
            f"The loop takes {whole:.1f} times as long, scaled from its sample; {bare:.1f} if it logged no model."
        )
    return "\n".join([measure.aligned(lines), *notes])


def _done(cost: measure.Cost, folder: Path) -> measure.Cost:
    if cost.code:
        sys.exit((folder / "output.txt").read_text(encoding="utf-8", errors="replace"))
    return cost


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=5, metavar="N", help="products that the loop is measured on")
    parser.add_argument("--only", choices=("ours", "peer"), help="leave the other out")
    parser.add_argument("--answers", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
