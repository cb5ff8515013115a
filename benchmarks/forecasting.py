"""gridcast against AutoETS, AutoTheta, LightGBM, N-HiTS, DeepAR and the seasonal naive forecast.

    .venv/bin/python benchmarks/forecasting.py [--sets NAME ...] [--seeds N ...] [--run NAME ...] [--fresh] [--record]

Every contender forecasts the quantiles of the last horizon of each set without seeing it, and is scored by the same
code, `scores.py`. The horizon before it is for choosing settings: gridcast and the networks select their epoch on it,
N-HiTS its scaling too, and LightGBM the way it is used; AutoETS, AutoTheta and the naive forecast are fitted to
everything before the test. Covariates that are known ahead are given to all that take them: gridcast, LightGBM, N-HiTS
and DeepAR.

"gridcast, all contenders" is the experiment that `gridcast new` writes for the table, with the horizon and the
covariates of the set; the forecasts are those of the model that the sweep promotes. The settings of
the other contenders are in `grids/forecasting`: DeepAR has the same lookback, layers, units, dropout, learning rate,
batches and sample paths as "gridcast", one network whose learning rate decays to 0. N-HiTS and DeepAR end their
training early after three minutes of processor time per set. Peers have one thread.

Each runs in a fresh process, imports and all; gridcast as `gridcast run` with its MLflow store, baselines and report.
Prints a table and writes benchmarks/results/forecasting.json. Finished results are kept in results/forecasting and
reused while their settings are the same; --fresh runs them again. Those of peers that are not there are taken from
recorded/forecasting_peers.json, which --record writes.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
import forecast_projects
import forecast_tasks
import measure
import numpy as np
import scores
import sets
from forecast_table import ForecastBenchmark, summary, table
from forecast_tasks import ForecastTask
from peers import panel

import sweep

HERE = Path(__file__).parent.absolute()
RESULTS, RECORDED = HERE / "results", HERE / "recorded" / "forecasting_peers.json"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
ONE_THREAD = dict.fromkeys(THREADS, "1")
COUNTS = ("hospital", "retail-monthly")
"""Sets of counts on which likelihoods of counts are compared."""
MOST_CPU_SECONDS = 180
"""Processor time after which the training of a peer's network ends."""


@dataclass(frozen=True)
class Contender:
    """A script, its environment (None: gridcast's own), and its name in the table.

    `is_drawn` is true of those that draw random numbers, which run once per seed, `has_network` of those that take the
    experiment's settings of networks, `counts` of those for counts only, and `is_default` of those that run where the
    command line names none. `options` go to the script unchanged.
    """

    title: str
    script: str
    environment: str | None
    is_drawn: bool = False
    has_network: bool = False
    counts: bool = False
    is_default: bool = True
    options: dict[str, Any] = field(default_factory=dict)


OURS = {
    "gridcast-all": Contender("gridcast, all contenders", "", None, is_drawn=True),
    "gridcast": Contender("gridcast", "", None, is_drawn=True, is_default=False, options={"likelihood": "student-t"}),
    "gridcast-counts": Contender(
        "gridcast, negative binomial",
        "",
        None,
        is_drawn=True,
        counts=True,
        is_default=False,
        options={"likelihood": "negative-binomial", "scaling": "mean"},
    ),
}
LIMIT = {"cpu_seconds": MOST_CPU_SECONDS}
NETWORK = {"is_drawn": True, "has_network": True}
PEERS = {
    "seasonal-naive": Contender("seasonal naive", "seasonal_naive.py", None),
    "auto-ets": Contender("AutoETS", "statistical.py", "statsforecast", options={"model": "AutoETS"}),
    "auto-theta": Contender("AutoTheta", "statistical.py", "statsforecast", options={"model": "AutoTheta"}),
    "lightgbm": Contender("LightGBM", "lightgbm_panel.py", "mlforecast", **NETWORK),
    "n-hits": Contender(
        "N-HiTS", "n_hits.py", "neuralforecast", **NETWORK, options=LIMIT | {"scalings": ["robust", "standard"]}
    ),
    "deepar": Contender(
        "DeepAR", "deepar.py", "gluonts", **NETWORK, options=LIMIT | {"likelihood": "student-t", "validated": True}
    ),
    "deepar-all": Contender(
        "DeepAR, all before the test",
        "deepar.py",
        "gluonts",
        **NETWORK,
        is_default=False,
        options=LIMIT | {"likelihood": "student-t", "validated": False, "learning_rate": 0.001},
    ),
    "deepar-counts": Contender(
        "DeepAR, negative binomial",
        "deepar.py",
        "gluonts",
        **NETWORK,
        counts=True,
        is_default=False,
        options=LIMIT | {"likelihood": "negative-binomial", "validated": True},
    ),
    "prophet": Contender("Prophet", "prophet_each.py", "prophet", is_default=False),
}
CONTENDERS = OURS | PEERS


def main() -> None:
    """Measure what the command line requests and has no result yet."""
    arguments = _arguments()
    environment_names = {CONTENDERS[key].environment for key in arguments.run} - {None}
    interpreters = {None: Path(sys.executable)} | {
        name: environments.python(name) for name in sorted(environment_names)
    }
    about = {"machine": sweep.machine(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (RESULTS / "forecasting").mkdir(parents=True, exist_ok=True)
    results: list[ForecastBenchmark] = []
    for name in arguments.sets:
        try:
            task = forecast_tasks.read(name, arguments.data)
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error.filename} does not exist", flush=True)
            continue
        print(f"{name}: {len(task.actual)} series, {task.actual.shape[1]} steps ahead", flush=True)
        for key, contender in CONTENDERS.items():
            if contender.counts and name not in COUNTS:
                continue
            seeds = arguments.seeds if contender.is_drawn else [0]
            finished = [] if arguments.fresh and key in arguments.run else _finished(task, key)
            missing = set(seeds) - {done.seed for done in finished} if key in arguments.run else set()
            for done in itertools.chain(finished, _run(task, key, sorted(missing), interpreters)):
                outcome = "failed:\n" + done.failed if done.failed else f"{done.wall_seconds:7.1f} s  {done.scores}"
                print(f"  {contender.title:<28}{done.seed}  {outcome}", flush=True)
                results.append(done)
                _write(about, results)
    titles = {key: contender.title for key, contender in CONTENDERS.items()}
    print(table(summary(results, OURS), titles, OURS))
    if arguments.record:
        _record([done for done in results if done.contender in PEERS and done.failed is None])
    failed = dict.fromkeys(f"{done.contender} on {done.set}" for done in results if done.failed)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _finished(task: ForecastTask, key: str) -> list[ForecastBenchmark]:
    """The results of a contender with the same settings: those on disk, and those recorded of the other seeds."""
    files = sorted((RESULTS / "forecasting").glob(f"{task.name}-{key}-[0-9].json"))
    kept = [json.loads(path.read_text()) for path in files]
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else []
    by_seed: dict[int, ForecastBenchmark] = {}
    for done in (ForecastBenchmark(**content) for content in [*recorded, *kept]):
        if (done.set, done.contender) == (task.name, key) and done.asked == _settings(task, key):
            by_seed[done.seed] = done
    return [by_seed[seed] for seed in sorted(by_seed)]


def _record(results: list[ForecastBenchmark]) -> None:
    """Write the results of peers to RECORDED, in place of those of the same set, contender and seed."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else []
    contents = [*recorded, *map(dataclasses.asdict, results)]
    order = {key: number for number, key in enumerate([*sets.SETS, *CONTENDERS])}
    places = {(order[done["set"]], order[done["contender"]], done["seed"]): done for done in contents}
    rows = ",\n".join(json.dumps(places[place]) for place in sorted(places))
    RECORDED.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def _run(
    task: ForecastTask, key: str, seeds: list[int], interpreters: dict[str | None, Path]
) -> Iterator[ForecastBenchmark]:
    """The results of a contender as they come in; those that did not fail are written to disk."""
    for seed in seeds:
        interpreter = interpreters[CONTENDERS[key].environment]
        done = _ours(task, key, seed) if key in OURS else _peer(task, key, seed, interpreter)
        if done.failed is None:
            _path(task.name, key, seed).write_text(json.dumps(dataclasses.asdict(done), indent=1) + "\n")
        yield done


def _path(name: str, key: str, seed: int, suffix: str = ".json") -> Path:
    return RESULTS / "forecasting" / f"{name}-{key}-{seed}{suffix}"


def _settings(task: ForecastTask, key: str) -> dict[str, Any]:
    """All settings of the contender besides the data and the seed; for gridcast, what its experiment must have."""
    content, contender = task.experiment, CONTENDERS[key]
    if key == "gridcast-all":
        return forecast_projects.requirements(content)
    if key in OURS:
        return content | {"baseline": content["baseline"] | contender.options}
    settings = {name: getattr(task.panel, name) for name in ("frequency", "period", "horizon", "known_names")}
    network = forecast_tasks.network_settings(content) if contender.has_network else {}
    return settings | {"shape": list(task.panel.values.shape), "network": network, "options": contender.options}


def _peer(task: ForecastTask, key: str, seed: int, interpreter: Path) -> ForecastBenchmark:
    """Run the contender's script in a separate folder."""
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        folder, asked = Path(name), _settings(task, key)
        changes = {"seed": seed, "network": asked["network"], "options": asked["options"]}
        panel.write_panel(folder, dataclasses.replace(task.panel, **changes))
        command = [str(interpreter), str(HERE / "peers" / CONTENDERS[key].script), name]
        cost = measure.run(command, folder, ONE_THREAD)
        return _result(task, key, seed, cost, folder, environments.versions(interpreter))


def _ours(task: ForecastTask, key: str, seed: int) -> ForecastBenchmark:
    """Run `gridcast run` in a new project, and take the winner's forecasts of the test span."""
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        project = Path(name)
        panel.write_panel(project, task.panel)
        if key == "gridcast-all":
            cost = forecast_projects.run_new(project, task, seed)
        else:
            cost = forecast_projects.run(project, task, _settings(task, key), seed)
        return _result(task, key, seed, cost, project, environments.versions(Path(sys.executable)))


def _result(
    task: ForecastTask, key: str, seed: int, cost: measure.Cost, folder: Path, versions: dict[str, str]
) -> ForecastBenchmark:
    """The result of `cost` and the quantiles in `folder`, of which a copy is kept."""
    values, note, failed = {}, "", None
    try:
        with np.load(folder / panel.FORECAST) as arrays:
            quantiles, note = arrays["quantiles"], str(arrays["note"])
        values = scores.all_of(task.actual, quantiles, task.panel.values, task.panel.period)
        np.savez_compressed(_path(task.name, key, seed, ".npz"), quantiles=quantiles)
    except (OSError, ValueError) as error:
        lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        failed = "\n".join([*lines[-20:], f"exit code {cost.code}, {error}"])
    costs = {"wall_seconds": cost.wall_seconds, "cpu_seconds": cost.cpu_seconds, "peak_megabytes": cost.peak_megabytes}
    asked = _settings(task, key)
    return ForecastBenchmark(task.name, key, seed, asked, values, **costs, versions=versions, note=note, failed=failed)


def _write(about: dict[str, Any], results: list[ForecastBenchmark]) -> None:
    content = {**about, "summary": summary(results, OURS), "results": [dataclasses.asdict(done) for done in results]}
    (RESULTS / "forecasting.json").write_text(json.dumps(content, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=sets.SETS, default=list(sets.SETS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    default = [key for key, contender in CONTENDERS.items() if contender.is_default]
    about_run = f"contenders to run, of: {', '.join(CONTENDERS)}; for the others finished results are reported"
    parser.add_argument("--run", nargs="*", choices=CONTENDERS, default=default, metavar="NAME", help=about_run)
    parser.add_argument("--fresh", action="store_true", help="run finished contenders again")
    parser.add_argument("--record", action="store_true", help=f"write the peers' results to {RECORDED.name}")
    parser.add_argument("--data", type=Path, default=sets.SHARED, help="folder of the public files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
