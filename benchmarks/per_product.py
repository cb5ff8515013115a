"""A separate network for each of 100 products, four configurations of each: gridcast against the plain loop.

    .venv/bin/python benchmarks/per_product.py [--sample N] [--only ours|peer]

gridcast runs `grids/per_product.yaml` as a user would, in a new project without compiled programs,
`gridcast run` and `gridcast promote`; the champion then forecasts for every product. The loop
(`peers/per_product_loop.py`) has the same windows, epochs and early stopping. All products would take it more
than an hour, so it is measured on a random sample of them (seed 0), and the seconds of its loop,
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
    """Measure what the command line requests."""
    arguments = _arguments()
    if arguments.answers:
        answers(*arguments.answers)
        return
    interpreters = {"gridcast": Path(sys.executable), "plain": environments.python("plain")}
    results: dict[str, Any] = {
        "experiment": EXPERIMENT.read_text(encoding="utf-8"),
        "machine": sweep.machine(),
        "versions": {name: environments.versions(path) for name, path in interpreters.items()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        inputs, project = Path(name, "inputs"), Path(name, "project")
        inputs.mkdir()
        runs = windows.write(EXPERIMENT, inputs)
        products = json.loads((inputs / "grid.json").read_text())["series"]
        codes = sorted(np.random.default_rng(0).choice(len(products), arguments.sample, replace=False).tolist())
        sample = [products[code] for code in codes]
        results |= {"runs": runs, "products": len(products), "sample": sample}
        print(f"{len(products)} products, {runs} runs; the loop on {', '.join(sample)}", flush=True)
        if arguments.only != "peer":
            results["gridcast"] = ours(project, sample)
        if arguments.only != "ours":
            results["loop"] = loop(interpreters["plain"], inputs, codes, len(products))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "per_product.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


def ours(project: Path, sample: list[str]) -> dict[str, Any]:
    """Return cost and results of gridcast in the new folder `project`. Exits if a command fails."""
    shutil.copytree(windows.DATA, project / "data")
    shutil.copy(EXPERIMENT, project / "experiment.yaml")
    gridcast = str(Path(sys.executable).with_name("gridcast"))
    run = _checked(measure.run([gridcast, "run", "experiment.yaml"], project, ENVIRONMENT), project)
    promoted = _checked(measure.run([gridcast, "promote", "experiment.yaml"], project, ENVIRONMENT), project)
    command = [sys.executable, str(HERE / "per_product.py"), "--answers", str(project), ",".join(sample)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)
    return {
        **vars(run + promoted),
        "promote_seconds": promoted.wall_seconds,
        **json.loads(printed.stdout.splitlines()[-1]),
    }


def answers(folder: str, sample: str) -> None:
    """Print as JSON: runs in the store in `folder`, loss of the sample, products that the champion forecasts.

    It must run as a separate process, for the reason in `recorded.py`.
    """
    import mlflow  # noqa: PLC0415 - not needed by the parent
    import pandas as pd  # noqa: PLC0415

    os.chdir(folder)  # artifact paths in the store are relative to it
    mlflow.set_tracking_uri(STORE)
    runs = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.`gridcast.kind` = 'run'", max_results=5000
    )
    best = runs.groupby("tags.gridcast.series")["metrics.best_val_loss"].min()
    sales = pd.read_parquet("data/online-retail.parquet")
    history = sales[sales["product"].isin(best.index)]
    forecasts = mlflow.pyfunc.load_model("models:/per-product@champion").predict(history)
    finite = forecasts[np.isfinite(forecasts["forecast"])]
    result = {"val_loss": float(best[sample.split(",")].mean()), "trained": len(runs)}
    print(json.dumps({**result, "answered": int(finite["product"].nunique())}))


def loop(interpreter: Path, inputs: Path, codes: list[int], products: int) -> dict[str, Any]:
    """Return cost and results of the plain loop on the products of `codes`, and its seconds for all `products`."""
    cost = _checked(
        measure.run([str(interpreter), str(LOOP), str(inputs), *map(str, codes)], inputs, ENVIRONMENT), inputs
    )
    result = json.loads((inputs / "result.json").read_text())
    times = products / len(codes)
    whole = cost.wall_seconds + result["seconds"] * (times - 1)
    bare, losses = whole - result["logging_seconds"] * times, list(result.pop("best").values())
    return {**vars(cost), **result, "all_seconds": whole, "unlogged_seconds": bare, "val_loss": float(np.mean(losses))}


def table(results: dict[str, Any]) -> str:
    """Return the results as aligned text."""
    lines = [("contender", "products", "wall s", "CPU s", "peak MB", "all products s", "val loss")]
    for name in ("gridcast", "loop"):
        if row := results.get(name):
            count = results["products"] if name == "gridcast" else len(results["sample"])
            cost = f"{row['wall_seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_megabytes']:.0f}"
            whole = row.get("all_seconds", row["wall_seconds"])
            lines.append((name, f"{count}", *cost, f"{whole:.0f}", f"{row['val_loss']:.5f}"))
    notes = []
    if "gridcast" in results:
        ours = results["gridcast"]
        notes.append(f"The champion forecasts {ours['answered']} products; {ours['trained']} runs are recorded.")
    if "gridcast" in results and "loop" in results:
        whole, bare = (
            results["loop"][name] / results["gridcast"]["wall_seconds"] for name in ("all_seconds", "unlogged_seconds")
        )
        notes.append(
            f"The loop takes {whole:.1f} times as long, scaled from its sample; {bare:.1f} if it logged no model."
        )
    return "\n".join([measure.aligned(lines), *notes])


def _checked(cost: measure.Cost, folder: Path) -> measure.Cost:
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
