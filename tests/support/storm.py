"""A sweep under faults: parents and workers killed, a server lost, a disk filled, starts doubled.

`make storm SEED=1` runs the large one; `test_storm.py` a small one. Each ends by comparing what
MLflow holds with what an undisturbed sweep of the same experiment left.
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

from gridcast import config
from gridcast.runtime.forecaster import NETWORK_FILE, SETTINGS_FILE
from gridcast.sweep import events, plan, runner, worker_pool, worker_process
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import open_store
from small_experiments import sales, write_experiment
from tracking_servers import MlflowServer, end, wait

sys.path.insert(0, str(Path(__file__).parent))

GRIDCAST = [sys.executable, "-m", "gridcast.cli"]
STOPS = 5.0
"""Seconds within which Ctrl-C ends a sweep."""
WAITS = "runs this experiment already; waiting for it to end"
TRIED = "died; tried again (1 of 2)"
LIMIT = 1500.0
"""Seconds after which a storm has failed to come to an end."""


@dataclass
class Storm:
    """Disturbances of a sweep in `folder`: at random, at least `kills` kills, or as `planned`.

    The store is that of the `server`, or where there is none the project's own SQLite file. `seen` holds
    what each kind of disturbance found.
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
    last: float = 0.0
    seen: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    @property
    def uri(self) -> str:
        """Where the sweep is recorded."""
        return self.server.uri if self.server else f"sqlite:///{self.folder}/mlflow.db"

    @property
    def killed(self) -> int:
        """Kills so far, of workers and of parents."""
        return sum(self.counts[kind] for kind in ("worker", "workers", "parent", "group"))

    def rage(self) -> None:
        """Start the sweep again and again, disturb it as planned, then let it end in peace."""
        # Each other fault at least once, and twice where there are many kills.
        planned = [*OTHERS * (1 + (self.kills >= 20)), *self.random.choices(KILLS, k=self.kills)]
        self.random.shuffle(planned)
        planned = list(self.planned[::-1]) or planned
        while planned or self.killed < self.kills:
            self._go_on()
            if self.planned:
                wait(lambda: self.over() or self.training(), 100, "no run was trained")
                if self.over():
                    continue
            else:
                # Most starts take some six seconds to the first epoch: some faults fall before it, most behind.
                time.sleep(self.random.choice((0.5, 3, 6, 8, 10, 12)) * self.random.uniform(0.5, 1))
            kind = planned.pop() if planned else self.random.choice(KILLS)
            found = DISTURBANCES[kind](self)
            if found is not None:
                self.counts[kind] += 1
                self.seen.setdefault(kind, []).append(found)
                self.tell(kind)
            elif kind not in KILLS or self.planned:
                planned.insert(0 if not self.planned else len(planned), kind)
            assert time.monotonic() - self.begun < LIMIT, self.output()
        self._reap()
        ended = [start.wait(LIMIT) for start in self.starts]
        self._reap()
        for _ in range(5):
            if 0 in ended:
                return
            ended = [self.start().wait(LIMIT)]
        raise AssertionError(self.output())

    def start(self) -> subprocess.Popen:
        """One `gridcast run`, leader of a process group of its own."""
        self.counts["starts"] += 1
        self.last = time.time()
        with (self.folder / "output.txt").open("a") as output:
            command = [*GRIDCAST, "run", "experiment.yaml", "--workers", "2"]
            environment = {**os.environ, "MLFLOW_TRACKING_URI": self.uri}
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self.starts.append(process)
        return process

    def training(self) -> bool:
        """Whether the state of a run was saved since the last start."""
        saved = (self.folder / ".gridcast" / "checkpoints").glob("[!.]*")
        with contextlib.suppress(FileNotFoundError):  # a run that ends meanwhile
            return any(path.stat().st_mtime > self.last for path in saved)
        return False

    def output(self, last: int | None = 4000) -> str:
        """What all starts printed, or the `last` characters of it."""
        return (self.folder / "output.txt").read_text()[-(last or 0) :]

    def tell(self, what: str) -> None:
        """A line for who watches."""
        print(f"{time.monotonic() - self.begun:6.1f} s  {what}", flush=True)

    def _go_on(self) -> None:
        self._reap()
        if self.starts:
            return
        if self.codes[0]:
            self._delete()
        self.start()

    def over(self) -> bool:
        """Whether no start is under way."""
        return all(start.poll() is not None for start in self.starts)

    def _delete(self) -> None:
        """Delete a finished run: where the sweep came to its end too soon, it has something to train again."""
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
        return [worker for child in nearest if "forkserver" in " ".join(child.cmdline()) for worker in child.children()]
    except psutil.Error:
        return []


def kill_worker(storm: Storm, *, every: bool = False) -> int | None:
    """SIGKILL one worker, or all at once; returns how many. What is planned goes on once the parent has noticed."""
    alive, before = [worker for start in storm.starts for worker in workers(start)], len(storm.output(None))
    if not alive:
        return None
    hit = alive if every else [_busiest(alive) if storm.planned else storm.random.choice(alive)]
    for process in hit:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if storm.planned:
        wait(lambda: TRIED in storm.output(None)[before:] or storm.over(), 60, "nobody missed the worker")
        return len(hit) if TRIED in storm.output(None)[before:] else None
    return len(hit)


def _busiest(alive: list[psutil.Process]) -> psutil.Process:
    for process in alive:
        process.cpu_percent()
    time.sleep(0.1)
    return max(alive, key=psutil.Process.cpu_percent)


def kill_parent(storm: Storm) -> int:
    """SIGKILL the parent alone: its workers must end by themselves; returns how many did."""
    # What is planned strikes the one that trains, and not one that waits for it.
    busiest = max(storm.starts, key=lambda start: len(workers(start)))
    parent = busiest if storm.planned else storm.random.choice(storm.starts)
    orphans = workers(parent)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(orphans, timeout=20)
    assert not alive, f"workers outlive their parent: {alive}"
    return len(orphans)


def kill_group(storm: Storm) -> int:
    """SIGKILL the parent and all its processes at once; returns how many workers there were."""
    parent = storm.random.choice(storm.starts)
    killed = len(workers(parent))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()
    return killed


def interrupt(storm: Storm) -> tuple[float, str] | None:
    """Ctrl-C or SIGTERM: the sweep ends with 130; returns after how many seconds, and what it said."""
    parent = storm.starts[0]
    if not workers(parent):
        return None
    begun, before = time.monotonic(), len(storm.output(None))
    parent.send_signal(storm.random.choice((signal.SIGINT, signal.SIGTERM)))
    code = parent.wait(60)
    took, said = time.monotonic() - begun, storm.output(None)[before:]
    if code == 0:
        return None
    assert code == 130, f"exit code {code}: {said}"
    assert took < STOPS, f"took {took:.1f} s to stop"
    return took, said


def outage(storm: Storm) -> float:
    """The tracking server is killed in the middle and is away for a while; returns how long."""
    assert storm.server is not None
    storm.server.kill()
    away = storm.random.uniform(3, 12)
    time.sleep(away)
    storm.server.start()
    return away


def fill_disk(storm: Storm) -> int:
    """The project's disk is full until the sweep has given up, or for some seconds; returns the bytes it took."""
    if not os.path.ismount(storm.folder):
        raise RuntimeError(f"{storm.folder} is no disk of its own")
    rubbish = storm.folder / "rubbish"
    with contextlib.suppress(OSError), rubbish.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    with contextlib.suppress(subprocess.TimeoutExpired):
        storm.starts[0].wait(storm.random.uniform(4, 10))
    took = rubbish.stat().st_size
    rubbish.unlink()
    return took


def double(storm: Storm) -> str:
    """Another start of the same experiment beside the one that runs; returns what it said while it waited."""
    before = len(storm.output(None))
    second = storm.start()
    wait(lambda: WAITS in storm.output(None)[before:] or second.poll() is not None, 60, "the second start said nothing")
    return storm.output(None)[before:]


OTHERS = ("outage", "full", "double", "interrupt")
KILLS = ("worker", "workers", "parent", "group")
DISTURBANCES: dict[str, Callable[[Storm], Any]] = {
    "worker": kill_worker,
    "workers": lambda storm: kill_worker(storm, every=True),
    "parent": kill_parent,
    "group": kill_group,
    "interrupt": interrupt,
    "outage": outage,
    "full": fill_disk,
    "double": double,
}


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """`folder` as a disk of its own that is soon full. Raises CalledProcessError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


def write_project(folder: Path, grid: dict[str, Any], epochs: int) -> None:
    """An experiment of `epochs` epochs a run and its data."""
    sales(200).to_csv(folder / "sales.csv", index=False)
    training = {"epochs": epochs, "patience": epochs, "checkpoint_seconds": 0.5}
    # Batches of one window: else a compiled epoch of so small a network is over before anything can strike.
    own = {"layer": "GRU", "units": 4, "dropout": 0.1, "learning_rate": 0.01, "batch_size": 1}
    sections = {"grid": grid, "training": training, "baseline": own, "baselines": ["last value"]}
    write_experiment(folder / "experiment.yaml", **sections)


def contents(uri: str) -> tuple[dict[str, dict[str, Any]], Counter[str]]:
    """What the experiment holds: by kind and run key the metrics with their curves, and counts of statuses."""
    store = open_store("small", uri, create=False)
    found: dict[str, dict[str, Any]] = {}
    statuses: Counter[str] = Counter()
    for run in mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` != 'sweep'"):
        statuses[run.info.status] += 1
        if run.info.status != "FINISHED":
            continue
        kind, key = run.data.tags[mlflow_runs.KIND_TAG], run.data.tags[mlflow_runs.KEY_TAG]
        assert key not in found.setdefault(kind, {}), f"{kind} {key} is recorded twice"
        curves = {name: mlflow_runs.metric_history(store, run.info.run_id, name) for name in sorted(run.data.metrics)}
        found[kind][key] = {name: curve for name, curve in curves.items() if name != "fit_seconds"}
        if kind == "run":
            assert set(mlflow_runs.read_model_files(store, run.info.run_id)) == {NETWORK_FILE, SETTINGS_FILE}
    return found, statuses


def undisturbed(folder: Path) -> dict[str, dict[str, Any]]:
    """What a sweep that nobody disturbs leaves, in this one process and over a SQLite store of its own."""
    with contextlib.chdir(folder):
        planned = plan.make_plan(config.read(Path("experiment.yaml")), "", "jax")
        store = open_store("small", f"sqlite:///{folder}/mlflow.db")
        runner.run_sweep(planned, store, worker_pool.WorkerSettings(1, "jax", Path(".gridcast")), events.SweepEvents())
    return contents(f"sqlite:///{folder}/mlflow.db")[0]


def weather(
    seed: int, base: Path, grid: dict[str, Any], epochs: int, kills: int, planned: tuple[str, ...] = ()
) -> tuple[Storm, str]:
    """A storm and its comparison; returns it with a tally. Raises AssertionError where anything differs."""
    calm, rough = base / "calm", base / "rough"
    calm.mkdir(parents=True)
    write_project(calm, grid, epochs)
    expected = undisturbed(calm)
    with contextlib.ExitStack() as stack:
        if not planned or "full" in planned:
            stack.enter_context(small_disk(rough, 96))
        rough.mkdir(exist_ok=True)
        write_project(rough, grid, epochs)
        served = not planned or "outage" in planned
        server = stack.enter_context(MlflowServer(base / "server")) if served else None
        storm = Storm(seed, rough, server, kills, planned)
        try:
            storm.rage()
        finally:
            for start in storm.starts:
                end(start)
        found, statuses = contents(storm.uri)
        waiting = [path for path in (rough / ".gridcast" / "spool").rglob("*") if path.is_file()]
        left = [path for path in (rough / ".gridcast" / "checkpoints").rglob("*") if path.is_file()]
    assert found["run"].keys() == expected["run"].keys()
    different = [key for key, metrics in expected["run"].items() if found["run"][key] != metrics]
    assert not different, f"{len(different)} runs have other metrics than undisturbed ones"
    assert found["test"] == expected["test"]
    assert found["baseline"] == expected["baseline"]
    assert not statuses["RUNNING"]
    assert not waiting
    assert not left
    others = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status != "FINISHED")
    did = ", ".join(f"{count} {kind}" for kind, count in sorted(storm.counts.items()))
    tally = (
        f"seed {seed}: {storm.killed} kills ({did}) in {time.monotonic() - storm.begun:.0f} s; exit codes on the way "
        f"{dict(sorted(storm.codes.items()))}\n"
        f"seed {seed}: {len(expected['run'])} run keys, {len(found['run'])} FINISHED, 0 duplicates, "
        f"{statuses['RUNNING']} RUNNING, metrics and curves of all runs, the winner's test and "
        f"{len(found['baseline'])} baselines identical to an undisturbed sweep (left behind: {others or 'nothing'})"
    )
    return storm, tally


def main() -> None:
    """The large storm: 24 runs, at least 30 kills, every other fault twice."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--kills", type=int, default=30)
    arguments = parser.parse_args()
    os.environ |= worker_process.WORKER_ENVIRONMENT
    grid = {"layer": ["GRU", "LSTM"], "units": [4, 8], "dropout": [0.1, 0.3], "learning_rate": [0.01, 0.003, 0.001]}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        print(weather(arguments.seed, Path(folder), grid, 400, arguments.kills)[1])


if __name__ == "__main__":
    main()
