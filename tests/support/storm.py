"""A sweep under faults: parents and workers killed, the server lost, the disk filled, a second start.

`make storm SEED=1` runs a large storm, `test_storm.py` a small one. Each ends by comparing what MLflow
holds with what an undisturbed sweep of the same experiment left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import warm_python

from gridcast import config
from gridcast.runtime.model_files import NETWORK_FILE, SETTINGS_FILE
from gridcast.sweep import events, plan, runner, worker_job, worker_process
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store, open_store
from gridcast.training.run_state import CURVES
from small_experiments import sales, write_experiment
from tracking_servers import MlflowServer, end, wait

GRIDCAST = [sys.executable, "-m", "gridcast.cli"]
MAX_STOP_SECONDS = 5.0
"""Seconds within which Ctrl-C ends a sweep."""
WAITING_TEXT = "runs this experiment already; waiting for it to end"
RETRY_TEXT = "died; tried again (1 of 2)"
TIME_LIMIT = 1500.0
"""Seconds after which a storm that has not ended fails."""


@dataclass
class Storm:
    """Disturbances of a sweep in `folder`: random ones with at least `kills` kills, or those in `planned`.

    The store is that of the `server`; without one it is the project's own SQLite file. `seen` holds the
    results of each kind of disturbance.
    """

    seed: int
    folder: Path
    server: MlflowServer | None
    kills: int
    planned: tuple[str, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    starts: list[subprocess.Popen] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    begun: float = field(default_factory=time.monotonic)
    last_start: float = 0.0
    seen: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    @property
    def uri(self) -> str:
        """Where the sweep is recorded."""
        return self.server.uri if self.server else f"sqlite:///{self.folder}/mlflow.db"

    @property
    def killed(self) -> int:
        """Number of kills so far, of workers and of parents."""
        return sum(self.counts[kind] for kind in ("worker", "workers", "parent", "group"))

    def run(self) -> None:
        """Start the sweep again and again, disturb it as planned, then let it end undisturbed."""
        # Each of the other faults at least once, twice if there are many kills.
        planned = [*OTHER_FAULTS * (1 + (self.kills >= 20)), *self.random.choices(KILLS, k=self.kills)]
        self.random.shuffle(planned)
        planned = list(self.planned[::-1]) or planned
        while planned or self.killed < self.kills:
            self._ensure_started()
            if self.planned:
                wait(lambda: self.is_over() or self.is_training(), 100, "no run was trained")
                if self.is_over():
                    continue
            else:
                # A start takes about six seconds to the first epoch: some faults strike before it, most after it.
                time.sleep(self.random.choice((0.5, 3, 6, 8, 10, 12)) * self.random.uniform(0.5, 1))
            kind = planned.pop() if planned else self.random.choice(KILLS)
            result = DISTURBANCES[kind](self)
            if result is not None:
                self.counts[kind] += 1
                self.seen.setdefault(kind, []).append(result)
                self.log(kind)
            elif kind not in KILLS or self.planned:
                planned.insert(0 if not self.planned else len(planned), kind)
            assert time.monotonic() - self.begun < TIME_LIMIT, self.output()
        self._reap()
        ended = [start.wait(TIME_LIMIT) for start in self.starts]
        self._reap()
        for _ in range(5):
            if 0 in ended:
                return
            ended = [self.start().wait(TIME_LIMIT)]
        raise AssertionError(self.output())

    def start(self) -> subprocess.Popen:
        """Start one `gridcast run`, the leader of its own process group."""
        self.counts["starts"] += 1
        self.last_start = time.time()
        # In a planned storm nothing happens to the second start once it trains: it needs no workers.
        count = "1" if self.planned and self.starts else "2"
        with (self.folder / "output.txt").open("a") as output:
            command = [*GRIDCAST, "run", "experiment.yaml", "--workers", count]
            environment = {**os.environ, "MLFLOW_TRACKING_URI": self.uri}
            process = warm_python.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self.starts.append(process)
        return process

    def is_training(self) -> bool:
        """Whether the state of a run was saved since the last start."""
        saved = (self.folder / ".gridcast" / "checkpoints").glob("[!.]*")
        with contextlib.suppress(FileNotFoundError):  # the state of a run that just ended
            return any(path.stat().st_mtime > self.last_start for path in saved)
        return False

    def output(self, last: int | None = 4000) -> str:
        """Return what all starts printed, or the `last` characters of it."""
        return (self.folder / "output.txt").read_text()[-(last or 0) :]

    def log(self, text: str) -> None:
        """Print a line with the time since the storm began."""
        print(f"{time.monotonic() - self.begun:6.1f} s  {text}", flush=True)

    def _ensure_started(self) -> None:
        self._reap()
        if self.starts:
            return
        if self.codes[0]:
            self._delete_run()
        self.start()

    def is_over(self) -> bool:
        """Whether no start is under way."""
        return all(start.poll() is not None for start in self.starts)

    def _delete_run(self) -> None:
        """Delete a finished run, so that a sweep that ended too soon has something to train again."""
        store = open_store("small", self.uri, create=False)
        done = mlflow_runs.search_runs(
            store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run' and attributes.status = 'FINISHED'"
        )
        store.client.delete_run(self.random.choice(done).info.run_id)
        self.counts["deleted"] += 1

    def _reap(self) -> None:
        for start in self.starts:
            if start.poll() is not None:
                self.codes[start.returncode] += 1
        self.starts = [start for start in self.starts if start.poll() is None]


def workers(parent: subprocess.Popen) -> list[psutil.Process]:
    """The worker processes of a sweep."""
    try:
        nearest = psutil.Process(parent.pid).children()
        return [worker for child in nearest for worker in child.children()]
    except psutil.Error:
        return []


def kill_worker(storm: Storm, *, every: bool = False) -> int | None:
    """SIGKILL one worker, or all at once; return how many. A planned storm waits until the parent has noticed."""
    alive, before = [worker for start in storm.starts for worker in workers(start)], len(storm.output(None))
    if not alive:
        return None
    killed = alive if every else [_busiest(alive) if storm.planned else storm.random.choice(alive)]
    survivors = [worker for worker in alive if worker not in killed] if storm.planned else []
    _signal_all(survivors, signal.SIGSTOP)
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if storm.planned:
        wait(
            lambda: RETRY_TEXT in storm.output(None)[before:] or storm.is_over(),
            60,
            "the parent did not notice the killed worker",
        )
        _signal_all(survivors, signal.SIGCONT)
        return len(killed) if RETRY_TEXT in storm.output(None)[before:] else None
    return len(killed)


def _busiest(alive: list[psutil.Process]) -> psutil.Process:
    for process in alive:
        process.cpu_percent()
    time.sleep(0.1)
    return max(alive, key=psutil.Process.cpu_percent)


def kill_parent(storm: Storm) -> int:
    """SIGKILL the parent alone, whose workers must end by themselves; return their number."""
    # In a planned storm it is the one that trains, not one that waits for it.
    busiest = max(storm.starts, key=lambda start: len(workers(start)))
    parent = busiest if storm.planned else storm.random.choice(storm.starts)
    if storm.planned:
        _signal_all(_pause_both(storm, parent), signal.SIGCONT)
    orphans = workers(parent)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(orphans, timeout=20)
    assert not alive, f"workers outlive their parent: {alive}"
    return len(orphans)


def kill_group(storm: Storm) -> int:
    """SIGKILL the parent and all its processes at once; return the number of workers."""
    parent = storm.random.choice(storm.starts)
    killed = len(workers(parent))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()
    return killed


def interrupt(storm: Storm) -> tuple[float, str] | None:
    """Interrupt the sweep, which must exit with 130; return the seconds that it took and what it printed."""
    parent = storm.starts[0]
    if not workers(parent):
        return None
    begun, before = time.monotonic(), len(storm.output(None))
    parent.send_signal(storm.random.choice((signal.SIGINT, signal.SIGTERM)))
    code = parent.wait(60)
    took, printed = time.monotonic() - begun, storm.output(None)[before:]
    if code == 0:
        return None
    assert code == 130, f"exit code {code}: {printed}"
    assert took < MAX_STOP_SECONDS, f"took {took:.1f} s to stop"
    return took, printed


def outage(storm: Storm) -> float:
    """Kill the tracking server and restart it after a while; return the seconds without it."""
    assert storm.server is not None
    storm.server.kill()
    seconds = storm.random.uniform(3, 12)
    time.sleep(seconds)
    storm.server.start()
    return seconds


def fill_disk(storm: Storm) -> int:
    """Fill the project's disk until the sweep gives up, or for some seconds; return the bytes written."""
    if not os.path.ismount(storm.folder):
        raise RuntimeError(f"{storm.folder} is not a separate disk")
    filler = storm.folder / "rubbish"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    with contextlib.suppress(subprocess.TimeoutExpired):
        storm.starts[0].wait(storm.random.uniform(4, 10))
    size = filler.stat().st_size
    filler.unlink()
    return size


def start_twice(storm: Storm) -> str:
    """Start the same experiment a second time; return what the second start printed while it waited."""
    before = len(storm.output(None))
    # A planned storm is short: without a pause the first start could end before the second has read its experiment.
    paused = _pause_both(storm, storm.starts[0]) if storm.planned else []
    second = storm.start()
    wait(
        lambda: WAITING_TEXT in storm.output(None)[before:] or second.poll() is not None,
        60,
        "the second start printed nothing",
    )
    _signal_all(paused, signal.SIGCONT)
    return storm.output(None)[before:]


def _pause_both(storm: Storm, parent: subprocess.Popen) -> list[psutil.Process]:
    """Stop both workers of `parent` and return them; one that was killed just before has no successor at first."""
    _signal_all(workers(parent), signal.SIGSTOP)
    wait(lambda: len(workers(parent)) == 2 or storm.is_over(), 60, "no second worker")
    both = workers(parent)
    _signal_all(both, signal.SIGSTOP)
    return both


def _signal_all(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


OTHER_FAULTS = ("outage", "full", "double", "interrupt")
KILLS = ("worker", "workers", "parent", "group")
DISTURBANCES: dict[str, Callable[[Storm], Any]] = {
    "worker": kill_worker,
    "workers": lambda storm: kill_worker(storm, every=True),
    "parent": kill_parent,
    "group": kill_group,
    "interrupt": interrupt,
    "outage": outage,
    "full": fill_disk,
    "double": start_twice,
}


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small disk at `folder`. Raises CalledProcessError if that is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


def write_project(folder: Path, grid: dict[str, Any], epochs: int) -> None:
    """Write an experiment whose runs take `epochs` epochs, and its data."""
    sales(200).to_csv(folder / "sales.csv", index=False)
    training = {"epochs": epochs, "patience": epochs, "checkpoint_seconds": 0.5}
    # Batches of one window: otherwise an epoch of such a small network ends before any fault can strike.
    baseline = {"layer": "GRU", "units": 4, "dropout": 0.1, "learning_rate": 0.01, "batch_size": 1}
    sections = {"grid": grid, "training": training, "baseline": baseline, "baselines": ["last value"]}
    write_experiment(folder / "experiment.yaml", **sections)


def contents(uri: str) -> tuple[dict[str, dict[str, Any]], Counter[str]]:
    """Return what the experiment holds: metrics with their curves by kind and run key, and counts of statuses."""
    store = open_store("small", uri, create=False)
    finished: dict[str, dict[str, Any]] = {}
    keys: Counter[tuple[str, str]] = Counter()
    statuses: Counter[str] = Counter()
    for run in mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` != 'sweep'"):
        statuses[run.info.status] += 1
        keys[run.data.tags[mlflow_runs.KIND_TAG], run.data.tags[mlflow_runs.KEY_TAG]] += 1
        if run.info.status != "FINISHED":
            continue
        kind, key = run.data.tags[mlflow_runs.KIND_TAG], run.data.tags[mlflow_runs.KEY_TAG]
        assert key not in finished.setdefault(kind, {}), f"{kind} {key} is recorded twice"
        curves = {name: _curve(store, run.info.run_id, name) for name in sorted(run.data.metrics)}
        finished[kind][key] = {name: curve for name, curve in curves.items() if name != "fit_seconds"}
        if kind == "run":
            by_origin = mlflow_runs.validation_errors(store, run.info.run_id, mlflow_runs.LOSS_BY_ORIGIN)
            finished[kind][key][mlflow_runs.LOSS_BY_ORIGIN] = by_origin
            assert set(mlflow_runs.read_model_files(store, run.info.run_id)) == {NETWORK_FILE, SETTINGS_FILE}
    doubled = [name for name, count in keys.items() if count > 1]
    assert not doubled, f"there are several runs of {doubled}"
    return finished, statuses


def _curve(store: Store, run_id: str, name: str) -> dict[int, float]:
    """A metric by step; each step stands once, and no step is missing."""
    points = store.client.get_metric_history(run_id, name)
    curve = {point.step: point.value for point in points}
    assert len(curve) == len(points), f"{name} of run {run_id} has steps twice"
    if name in CURVES:
        assert sorted(curve) == list(range(1, len(curve) + 1)), f"{name} of run {run_id} has gaps"
        times = [point.timestamp for point in sorted(points, key=lambda point: point.step)]
        assert times == sorted(times), f"the epochs of run {run_id} are not in the order of time"
    return curve


def undisturbed(folder: Path) -> dict[str, dict[str, Any]]:
    """Run the sweep undisturbed, in this process and with its own SQLite store; return what it leaves."""
    with contextlib.chdir(folder):
        planned = plan.make_plan(config.read(Path("experiment.yaml")), "", "jax")
        store = open_store("small", f"sqlite:///{folder}/mlflow.db")
        runner.run_sweep(planned, store, worker_job.WorkerSettings(1, "jax", Path(".gridcast")), events.SweepEvents())
    return contents(f"sqlite:///{folder}/mlflow.db")[0]


def run_storm(
    seed: int, base: Path, grid: dict[str, Any], epochs: int, kills: int, planned: tuple[str, ...] = ()
) -> tuple[Storm, str]:
    """Run a storm and compare; return it with a summary. Raises AssertionError if anything differs."""
    calm, rough = base / "calm", base / "rough"
    calm.mkdir(parents=True)
    write_project(calm, grid, epochs)
    expected = undisturbed(calm)
    with contextlib.ExitStack() as stack:
        if not planned or "full" in planned:
            stack.enter_context(small_disk(rough, 96))
        rough.mkdir(exist_ok=True)
        write_project(rough, grid, epochs)
        needs_server = not planned or "outage" in planned
        server = stack.enter_context(MlflowServer(base / "server")) if needs_server else None
        storm = Storm(seed, rough, server, kills, planned)
        try:
            storm.run()
        finally:
            for start in storm.starts:
                end(start)
        actual, statuses = contents(storm.uri)
        spooled = [path for path in (rough / ".gridcast" / "spool").rglob("*") if path.is_file()]
        checkpoints = [path for path in (rough / ".gridcast" / "checkpoints").rglob("*") if path.is_file()]
    assert actual["run"].keys() == expected["run"].keys()
    different = [key for key, metrics in expected["run"].items() if actual["run"][key] != metrics]
    assert not different, f"{len(different)} runs have other metrics than undisturbed ones"
    assert actual["baseline"] == expected["baseline"]
    assert not statuses["RUNNING"]
    assert not spooled
    assert not checkpoints
    others = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status != "FINISHED")
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(storm.counts.items()))
    summary = (
        f"seed {seed}: {storm.killed} kills ({faults}) in {time.monotonic() - storm.begun:.0f} s; exit codes "
        f"{dict(sorted(storm.codes.items()))}\n"
        f"seed {seed}: {len(expected['run'])} run keys, {len(actual['run'])} FINISHED, 0 duplicates, "
        f"{statuses['RUNNING']} RUNNING, metrics and curves of all runs, the winner's test among them, and "
        f"{len(actual['baseline'])} baselines identical to an undisturbed sweep (left behind: {others or 'nothing'})"
    )
    return storm, summary


def main() -> None:
    """The large storm: 24 runs, at least 30 kills, every other fault twice."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--kills", type=int, default=30)
    arguments = parser.parse_args()
    os.environ |= worker_process.WORKER_ENVIRONMENT
    grid = {"layer": ["GRU", "LSTM"], "units": [4, 8], "dropout": [0.1, 0.3], "learning_rate": [0.01, 0.003, 0.001]}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        print(run_storm(arguments.seed, Path(folder), grid, 400, arguments.kills)[1])


if __name__ == "__main__":
    main()
