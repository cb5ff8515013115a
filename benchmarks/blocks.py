"""gridcast on the whole retail grid, against peers that train balanced blocks of it.

    .venv/bin/python benchmarks/blocks.py [--blocks N] [--peers NAME ...] [--recorded]

The whole grid takes the peers hours (the plain loop three and a half), so each of them trains blocks of
six runs: every layer with every number of units, the other settings as BLOCKS has them, so that six
blocks meet each value of each setting equally often. A block is paired with what the very same runs
took in the whole grid of gridcast: its wall time, start-up, tracking, tests and report included, times
their share of all seconds of training. A peer's start counts once for the whole grid, not once a
block. Prints the ratios and writes benchmarks/results/blocks.json.

A block takes the six peers some twenty minutes, so a later call keeps the pairs that an earlier one
wrote there, if versions and machine are the same, and pairs the rest with a grid trained anew.
`--recorded` measures nothing: it prints what is there, or else what the project's authors measured.
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
"""What the authors measured: hours that nobody need spend to read the table."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A peer's block beside the same runs of gridcast: seconds of both, and the lowest validation loss of both."""

    peer: str
    block: int
    seconds: float
    own_seconds: float
    best_val_loss: float
    own_best_val_loss: float

    @property
    def ratio(self) -> float:
        """How many times gridcast's time the peer takes."""
        return self.seconds / self.own_seconds


def main() -> None:
    """Measure what the command line asks for."""
    arguments = _arguments()
    if arguments.recorded:
        _tell_recorded()
        return
    interpreters = {name: environments.python(name) for name in arguments.peers}
    about: dict[str, Any] = {"machine": machine(), "blocks": BLOCKS}
    about["versions"] = {
        peer: environments.versions(path) for peer, path in ({COLD: Path(sys.executable)} | interpreters).items()
    }
    measurements, pairs = _earlier(about)
    met = {(pair.block, pair.peer) for pair in pairs}
    waiting = [(block, peer) for block in range(1, arguments.blocks + 1) for peer in interpreters]
    waiting = [pair for pair in waiting if pair not in met]
    if waiting:
        _measure(waiting, interpreters, about, measurements, pairs)
    print(table(pairs, measurements))


def _tell_recorded() -> None:
    path = RESULTS if RESULTS.exists() else RECORDED
    content = json.loads(path.read_text())
    about = content["machine"]
    whose = "measured here" if path == RESULTS else "as the authors measured it"
    print(f"\nThe whole retail grid, {whose} on {content['measured']} ({about['cores']} cores, {about['cpu']}):")
    measurements, pairs = _kept(content)
    print(table(pairs, measurements))
    print("`make bench-full` measures it anew; that takes hours.")


def _measure(
    waiting: list[tuple[int, str]],
    interpreters: Mapping[str, Path],
    about: Mapping[str, Any],
    measurements: list[Measurement],
    pairs: list[Pair],
) -> None:
    """Train the whole grid, then every `waiting` (block, peer); each is written as soon as it is there."""
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as name:
        given, project = Path(name, "given"), Path(name, "project")
        given.mkdir()
        count = windows.write(GRIDS["full"], given)
        axes = json.loads((given / "grid.json").read_text())["axes"]
        own = gridcast(COLD, 1, GRIDS["full"], project, axes)
        if own.failed is not None:
            sys.exit(f"gridcast failed:\n{own.failed}")
        print(f"gridcast, {count} runs: {own.wall_seconds:.1f} s", flush=True)
        runs = _recorded(project)
        measurements.append(own)
        for number, peer in waiting:
            folder = Path(name, peer)
            shutil.copytree(given, folder)
            fixed = BLOCKS[number - 1]
            done = _block(peer, interpreters[peer], number, fixed, folder)
            shutil.rmtree(folder)
            if done.failed is not None:
                sys.exit(f"{title(peer)} failed:\n{done.failed}")
            measurements.append(done)
            pairs.append(_pair(done, own, runs, fixed, count))
            print(
                f"  block {number}  {title(peer):<28}{pairs[-1].seconds:7.1f} s for {pairs[-1].own_seconds:5.1f} s "
                f"of gridcast: {pairs[-1].ratio:5.1f} times",
                flush=True,
            )
            _write(about, measurements, pairs)


def _earlier(about: Mapping[str, Any]) -> tuple[list[Measurement], list[Pair]]:
    """What an earlier call measured on this machine with these versions; nothing where there is none."""
    if not RESULTS.exists():
        return [], []
    content = json.loads(RESULTS.read_text())
    before, now = ({k: v for k, v in kept["machine"].items() if k != "load_before"} for kept in (content, about))
    if before != now or any(content["versions"].get(peer) != found for peer, found in about["versions"].items()):
        sys.exit(f"{RESULTS} is of another machine or other versions; move it away to measure anew")
    return _kept(content)


def _kept(content: Mapping[str, Any]) -> tuple[list[Measurement], list[Pair]]:
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


def _recorded(project: Path) -> list[dict[str, Any]]:
    """Settings, training seconds and validation loss of every run that gridcast left in `project`.

    Read by a process of its own: MLflow goes on reading a store that was removed and made anew.
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


def _pair(
    done: Measurement, own: Measurement, runs: list[dict[str, Any]], fixed: Mapping[str, Any], count: int
) -> Pair:
    same = [run for run in runs if all(run[name] == value for name, value in fixed.items())]
    share = sum(run["fit_seconds"] for run in same) / sum(run["fit_seconds"] for run in runs)
    assert done.grid_seconds is not None
    assert done.best_val_loss is not None
    return Pair(
        peer=done.contender,
        block=done.repeat,
        seconds=done.grid_seconds + (done.wall_seconds - done.grid_seconds) * len(same) / count,
        own_seconds=own.wall_seconds * share,
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
    """The ratios of each peer over its blocks, as aligned text."""
    grids = [done.wall_seconds for done in measurements if done.contender == COLD]
    whole = statistics.median(grids)
    lines = [f"{'peer':<28}{'times gridcast':>24}{'whole grid':>12}{'val loss above gridcast':>32}"]
    for peer in dict.fromkeys(pair.peer for pair in pairs):
        found = [pair for pair in pairs if pair.peer == peer]
        ratios = [pair.ratio for pair in found]
        middle = statistics.median(ratios)
        above = [100 * (pair.best_val_loss / pair.own_best_val_loss - 1) for pair in found]
        told = f"{middle:.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
        better = f"{statistics.median(above):+.2f} % ({min(above):+.2f} to {max(above):+.2f})"
        lines.append(f"{title(peer):<28}{told:>24}{middle * whole / 3600:>10.1f} h{better:>32}")
    took = ", ".join(f"{seconds:.0f}" for seconds in grids)
    lines.append(f"gridcast: {took} s for the whole grid, from a cold cache. Medians over blocks of")
    lines.append("six runs, with least and most; the hours are gridcast's time times the ratio, not measured.")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="gridcast on the whole retail grid, peers on blocks of it")
    parser.add_argument("--blocks", type=int, default=len(BLOCKS), choices=range(1, len(BLOCKS) + 1))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--recorded", action="store_true", help="print what was measured before, and measure nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
