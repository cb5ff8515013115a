"""gridcast on the whole retail grid against peers that train balanced blocks of it.

    .venv/bin/python benchmarks/blocks.py [--blocks N] [--peers NAME ...] [--recorded]

The whole grid takes the peers hours (the plain loop three and a half), so each of them trains blocks of
six runs: every layer with every number of units, the other settings as in BLOCKS, so that six
blocks contain each value of each setting equally often. A block is compared with the time that the same runs
took in the whole grid of gridcast: its wall time (start-up, tracking, tests and report included) times
their share of all seconds of training. A peer's start counts once for the whole grid, not once per
block. Prints the ratios and writes benchmarks/results/blocks.json.

A block takes the six peers some twenty minutes, so a later call keeps the pairs that are in that file,
if versions and machine are the same, and trains the grid again for the missing ones.
`--recorded` measures nothing: it prints the results on disk, or else those of the project's authors.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import environments
import measure
from peers import windows

from sweep import COLD, ENVIRONMENT, GRIDS, HERE, PEERS, Measurement, gridcast, machine, measured, title

SHARED = {"layer": ["GRU", "LSTM"], "units": [32, 64, 128]}
BLOCKS: tuple[dict[str, Any], ...] = (
    {"learning_rate": 0.001, "batch_size": 32, "dropout": 0.1, "attention": False},
    {"learning_rate": 0.0005, "batch_size": 64, "dropout": 0.2, "attention": True},
    {"learning_rate": 0.0001, "batch_size": 32, "dropout": 0.3, "attention": True},
    {"learning_rate": 0.001, "batch_size": 64, "dropout": 0.2, "attention": True},
    {"learning_rate": 0.0005, "batch_size": 32, "dropout": 0.3, "attention": False},
    {"learning_rate": 0.0001, "batch_size": 64, "dropout": 0.1, "attention": False},
)
RESULTS = HERE / "results" / "blocks.json"
RECORDED = HERE / "recorded" / "blocks.json"
"""Results of the authors, so that nobody has to spend hours to see the table."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A peer's block beside the same runs of gridcast: seconds and lowest validation loss of both.

    The fields are the keys of the recorded results; `own` stands for gridcast.
    """

    peer: str
    block: int
    seconds: float
    own_seconds: float
    best_val_loss: float
    own_best_val_loss: float

    @property
    def ratio(self) -> float:
        """The peer's time over that of gridcast."""
        return self.seconds / self.own_seconds


def main() -> None:
    """Measure what the command line requests."""
    arguments = _arguments()
    if arguments.recorded:
        _print_recorded()
        return
    interpreters = {name: environments.python(name) for name in arguments.peers}
    about: dict[str, Any] = {"machine": machine(), "blocks": BLOCKS}
    about["versions"] = {
        peer: environments.versions(path) for peer, path in ({COLD: Path(sys.executable)} | interpreters).items()
    }
    measurements, pairs = _earlier(about)
    measured_pairs = {(pair.block, pair.peer) for pair in pairs}
    waiting = [(block, peer) for block in range(1, arguments.blocks + 1) for peer in interpreters]
    waiting = [pair for pair in waiting if pair not in measured_pairs]
    if waiting:
        _measure(waiting, interpreters, about, measurements, pairs)
    print(table(pairs, measurements))


def _print_recorded() -> None:
    path = RESULTS if RESULTS.exists() else RECORDED
    content = json.loads(path.read_text())
    about = content["machine"]
    where = "measured here" if path == RESULTS else "as the authors measured it"
    print(f"\nThe whole retail grid, {where} on {content['measured']} ({about['cores']} cores, {about['cpu']}):")
    measurements, pairs = _parsed(content)
    print(table(pairs, measurements))
    print("`make bench-full` measures it again; that takes hours.")


def _measure(
    waiting: list[tuple[int, str]],
    interpreters: Mapping[str, Path],
    about: Mapping[str, Any],
    measurements: list[Measurement],
    pairs: list[Pair],
) -> None:
    """Train the whole grid, then every `waiting` (block, peer); each result is written at once."""
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        inputs, project = Path(name, "inputs"), Path(name, "project")
        inputs.mkdir()
        count = windows.write(GRIDS["full"], inputs)
        axes = json.loads((inputs / "grid.json").read_text())["axes"]
        whole_grid = gridcast(COLD, 1, GRIDS["full"], project, axes)
        if whole_grid.failed is not None:
            sys.exit(f"gridcast failed:\n{whole_grid.failed}")
        print(f"gridcast, {count} runs: {whole_grid.wall_seconds:.1f} s", flush=True)
        runs = _recorded_runs(project)
        measurements.append(whole_grid)
        for number, peer in waiting:
            folder = Path(name, peer)
            shutil.copytree(inputs, folder)
            fixed = BLOCKS[number - 1]
            done = _block(peer, interpreters[peer], number, fixed, folder)
            shutil.rmtree(folder)
            if done.failed is not None:
                sys.exit(f"{title(peer)} failed:\n{done.failed}")
            measurements.append(done)
            pairs.append(_pair(done, whole_grid, runs, fixed))
            print(
                f"  block {number}  {title(peer):<28}{pairs[-1].seconds:7.1f} s for {pairs[-1].own_seconds:5.1f} s "
                f"of gridcast: {pairs[-1].ratio:5.1f} times",
                flush=True,
            )
            _write(about, measurements, pairs)


def _earlier(about: Mapping[str, Any]) -> tuple[list[Measurement], list[Pair]]:
    """The results of an earlier call, on this machine with these versions; empty if there are none."""
    if not RESULTS.exists():
        return [], []
    content = json.loads(RESULTS.read_text())
    before, now = ({k: v for k, v in source["machine"].items() if k != "load_before"} for source in (content, about))
    if before != now or any(content["versions"].get(peer) != versions for peer, versions in about["versions"].items()):
        sys.exit(f"{RESULTS} is of another machine or other versions; move it away to measure again")
    return _parsed(content)


def _parsed(content: Mapping[str, Any]) -> tuple[list[Measurement], list[Pair]]:
    pairs = [{name: value for name, value in pair.items() if name != "ratio"} for pair in content["pairs"]]
    return [Measurement(**done) for done in content["measurements"]], [Pair(**pair) for pair in pairs]


def _block(peer: str, interpreter: Path, number: int, fixed: Mapping[str, Any], folder: Path) -> Measurement:
    """`peer` on one block, in `folder`, which has the windows and the whole grid."""
    about = json.loads((folder / "grid.json").read_text())
    about |= {"axes": SHARED, "fixed": about["fixed"] | fixed}
    (folder / "grid.json").write_text(json.dumps(about))
    command = [str(interpreter), str(HERE / "peers" / PEERS[peer].script), str(folder)]
    cost = measure.run(command, folder, ENVIRONMENT | {"KERAS_BACKEND": PEERS[peer].backend})
    return measured(peer, number, cost, folder, SHARED)


def _recorded_runs(project: Path) -> list[dict[str, Any]]:
    """Settings, training seconds and validation loss of every run that gridcast recorded in `project`.

    Read by a separate process: within one, MLflow would go on reading a store that was removed and created again.
    """
    code = (
        "import json, sys, mlflow\n"
        "from gridcast.tracking import mlflow_runs, store\n"
        "store = store.open_store('retail-daily', 'sqlite:///' + sys.argv[1])\n"
        "runs = mlflow_runs.search_runs(store, \"tags.`gridcast.kind` = 'run' and attributes.status = 'FINISHED'\")\n"
        "print(json.dumps([json.loads(r.data.tags['gridcast.configuration']) | dict(r.data.metrics) for r in runs]))\n"
    )
    command = [sys.executable, "-c", code, str(project / "mlflow.db")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=project)
    return list(json.loads(done.stdout))


def _pair(done: Measurement, whole_grid: Measurement, runs: list[dict[str, Any]], fixed: Mapping[str, Any]) -> Pair:
    same = [run for run in runs if all(run[name] == value for name, value in fixed.items())]
    share = sum(run["fit_seconds"] for run in same) / sum(run["fit_seconds"] for run in runs)
    assert done.grid_seconds is not None
    assert done.best_val_loss is not None
    return Pair(
        peer=done.contender,
        block=done.repeat,
        seconds=done.grid_seconds + (done.wall_seconds - done.grid_seconds) * len(same) / len(runs),
        own_seconds=whole_grid.wall_seconds * share,
        best_val_loss=done.best_val_loss,
        own_best_val_loss=min(run["best_val_loss"] for run in same),
    )


def _write(about: dict[str, Any], measurements: list[Measurement], pairs: list[Pair]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    content = {
        **about,
        "measured": time.strftime("%Y-%m-%d"),
        "measurements": [dataclasses.asdict(done) for done in measurements],
        "pairs": [dataclasses.asdict(pair) | {"ratio": pair.ratio} for pair in pairs],
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def table(pairs: list[Pair], measurements: list[Measurement]) -> str:
    """Return the ratios of each peer over its blocks, as aligned text."""
    grids = [done.wall_seconds for done in measurements if done.contender == COLD]
    whole = statistics.median(grids)
    lines = [f"{'peer':<28}{'times gridcast':>24}{'whole grid':>12}{'val loss above gridcast':>32}"]
    for peer in dict.fromkeys(pair.peer for pair in pairs):
        of_peer = [pair for pair in pairs if pair.peer == peer]
        ratios = [pair.ratio for pair in of_peer]
        middle = statistics.median(ratios)
        above = [100 * (pair.best_val_loss / pair.own_best_val_loss - 1) for pair in of_peer]
        times = f"{middle:.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
        better = f"{statistics.median(above):+.2f} % ({min(above):+.2f} to {max(above):+.2f})"
        lines.append(f"{title(peer):<28}{times:>24}{middle * whole / 3600:>10.1f} h{better:>32}")
    took = ", ".join(f"{seconds:.0f}" for seconds in grids)
    lines.append(f"gridcast: {took} s for the whole grid, from a cold cache. Medians over blocks of")
    lines.append("six runs, with minimum and maximum; the hours are gridcast's time times the ratio, not measured.")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="gridcast on the whole retail grid, peers on blocks of it")
    parser.add_argument("--blocks", type=int, default=len(BLOCKS), choices=range(1, len(BLOCKS) + 1))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--recorded", action="store_true", help="print what was measured before, and measure nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
