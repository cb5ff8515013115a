"""Sweeps on a Dask cluster of several hosts, of which one is cut off, one dies and one comes late.

Workers and parents reach the scheduler and the MLflow server, but not each other, and share no folder.
The fixtures tell one story: the first sweep, disturbed in all these ways; then two at once, of
different experiments, by what is left of the cluster; then who and what is refused.
"""

import os
import pickle
import re
import shutil
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import warm_python

import gridcast
from gridcast.runtime.errors import ConfigError, GridcastError
from gridcast.sweep import dask_workers, events, runner
from gridcast.sweep.plan import Plan
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.sweep.worker_pool import WorkerPool
from gridcast.tracking import store
from network_hosts import Host, Network
from small_experiments import planned, sales, write_experiment
from tracking_servers import PYTHON, MlflowServer, Unavailable, postgres, wait

COLUMNS = [f"c{number}" for number in range(60)]
WIDE = sales(4000, ("apple", "pear", "plum", "fig")).drop(columns="price")
WIDE = WIDE.join(pd.DataFrame(np.random.default_rng(1).normal(size=(len(WIDE), 60)).round(3), columns=COLUMNS))
"""Four megabytes of numbers with few windows: a run takes a second or two."""
SECTIONS = {
    "data": {"past": COLUMNS},
    "window": {"stride": 5},
    "transform": {"scale": "standard"},
    "baselines": ["last value"],
    "baseline": {"batch_size": 64},
    "grid": {"units": [4, 5, 6, 7]},
    "training": {"epochs": 30, "patience": 30, "seeds": [0, 1]},
}
TWO = {"one": WIDE.assign(quantity=WIDE["quantity"] ** 2), "two": WIDE.assign(quantity=WIDE["c0"] + 5)}
"""Tables of the same size, so that the compiled programs of the first sweep are used again."""
SHORT = SECTIONS | {"grid": {"learning_rate": [0.01, 0.001]}, "training": {"epochs": 20, "patience": 20}}
PORT = 8786
SILENCE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}
"""How long a host may be silent until its connections count as broken: the least that Dask takes."""


@dataclass(frozen=True)
class Cluster:
    """The hosts: MLflow's, the scheduler's, two from which sweeps are started, and the workers'."""

    record: Host
    scheduling: Host
    parents: dict[str, Host]
    workers: dict[str, Host]
    scheduler: str


@dataclass(frozen=True)
class Ended:
    """How a start of the command ended, and every run that its store knew afterwards."""

    code: int
    out: str
    err: str
    runs: list

    def of(self, kind):
        return [run for run in self.runs if run.data.tags["gridcast.kind"] == kind]

    @property
    def metrics(self):
        return {
            (run.data.tags["gridcast.kind"], run.data.tags["gridcast.run_key"]): without_time(run.data.metrics)
            for run in self.runs
            if "gridcast.run_key" in run.data.tags
        }


def without_time(metrics):
    return {name: value for name, value in metrics.items() if name != "fit_seconds"}


def environment(**variables):
    strange = ("MLFLOW_TRACKING_URI", "KERAS_BACKEND", "DASK_SCHEDULER_ADDRESS")
    return {name: value for name, value in os.environ.items() if name not in strange} | SILENCE | variables


class Start:
    """`gridcast run` on a host, in a folder with its own input."""

    def __init__(self, host, frame, sections, scheduler, uri, name="small"):
        self.name, self.folder = name, host.folder / name
        self.folder.mkdir()
        frame.to_csv(self.folder / "sales.csv", index=False)
        write_experiment(self.folder / "small.yaml", "sales.csv", name=name, **sections)
        command = [sys.executable, "-m", "gridcast.cli", "run", "small.yaml", "--scheduler", scheduler]
        with self.out.open("w") as out, self.err.open("w") as err:
            variables = environment(MLFLOW_TRACKING_URI=uri)
            self.process = host.run(command, cwd=self.folder, env=variables, stdout=out, stderr=err)

    @property
    def out(self):
        return self.folder / "out"

    @property
    def err(self):
        return self.folder / "err"

    def says(self, text):
        def said():
            assert self.process.poll() is None, self.err.read_text()
            return text in self.out.read_text()

        wait(said, 120, f"'{text}' was not said")

    def ended(self, uri):
        return Ended(self.process.wait(120), self.out.read_text(), self.err.read_text(), stored(uri, self.name))


def stored(uri, name):
    import mlflow

    client = mlflow.MlflowClient(uri)
    return list(client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=1000))


def alone(folder, frame, sections, programs, name="small"):
    """The same sweep in this process, with nobody else: its plan, and all that it recorded."""
    plan = planned(folder, frame, name=name, **sections)
    uri = f"sqlite:///{folder}/mlflow.db"
    with warnings.catch_warnings(action="ignore"):  # MLflow's own, when it is imported
        result = runner.run_sweep(
            plan, store.open_store(name, uri), WorkerSettings(1, "jax", programs), events.SweepEvents()
        )
    assert (result.trained, result.failed) == (len(plan.runs), 0)
    return plan, Ended(0, "", "", stored(uri, name))


def scheduler_on(host):
    command = [str(PYTHON.with_name("dask")), "scheduler", "--host", host.address, "--no-dashboard"]
    host.run(command, env=environment())
    host.wait_for_port(PORT)
    return f"tcp://{host.address}:{PORT}"


def worker_on(host, scheduler, **variables):
    command = [str(PYTHON.with_name("dask")), "worker", scheduler, "--nthreads", "1", "--name", host.name]
    command += ["--no-dashboard", "--local-directory", str(host.folder / "scratch")]
    host.run(command, env=environment(**variables))


def logged(host, pattern):
    """Whether a line in the log of `host` has this pattern."""
    return re.search(pattern, host.log.read_text()) is not None


def query_scheduler(scheduler, question):
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        return question(client)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    try:
        with Network(tmp_path_factory.mktemp("hosts")) as network:
            yield network
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def meanwhile():
    """Does what takes time while the fixtures wait for something else."""
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture(scope="module")
def astray(network, meanwhile, tmp_path_factory):
    """What becomes of work for a scheduler at an address that no host has."""
    address, folder = f"tcp://10.77.{network.subnet}.250:{PORT}", tmp_path_factory.mktemp("astray")

    def work():
        with pool(address, folder) as nobody:
            try:
                return address, list(nobody.execute(nap(0), [1]))
            except GridcastError as error:
                return address, error

    return meanwhile.submit(work)


@pytest.fixture(scope="module")
def cluster(network):
    """A scheduler with three workers; the host of a fourth stands by."""
    record, scheduling = network.host("record"), network.host("scheduling")
    parents = {name: network.host(name, apart=True) for name in ("one", "two")}
    workers = {name: network.host(name, apart=True) for name in ("first", "second", "third", "late")}
    scheduler = scheduler_on(scheduling)
    query_scheduler(scheduler, lambda client: client.get_task_stream())  # from now on the scheduler remembers
    for name in ("first", "second", "third"):
        worker_on(workers[name], scheduler)
    return Cluster(record, scheduling, parents, workers, scheduler)


@dataclass(frozen=True)
class Story:
    """The disturbed sweep, and the same one `alone` on one host.

    `lost` is what the first worker was at when it was cut off, `did` who did each task, and
    `received` how many bytes came to each host.
    """

    plan: Plan
    alone: Ended
    ended: Ended
    lost: list[str]
    did: dict[str, str]
    received: dict[str, int]


@pytest.fixture(scope="module")
def story(cluster, astray, meanwhile, tmp_path_factory, programs):
    assert astray
    record, scheduler, (first, second, _, late) = cluster.record, cluster.scheduler, cluster.workers.values()
    with MlflowServer(record.folder / "mlflow", host=record.address, port=5000, prefix=record.prefix) as server:
        start = Start(cluster.parents["one"], WIDE, SECTIONS, scheduler, server.uri)
        start.says("  1/8 ")
        first.cut_off()
        second.kill()
        worker_on(late, scheduler)
        lost = wait(lambda: at_work(scheduler, first), 10, "the first worker has nothing to do")
        expected = meanwhile.submit(alone, tmp_path_factory.mktemp("alone"), WIDE, SECTIONS, programs)
        wait(lambda: logged(cluster.scheduling, "Remove worker .* name: first "), 60, "nobody missed the first worker")
        first.reconnect()
        ended = start.ended(server.uri)
    stream = query_scheduler(scheduler, lambda client: client.get_task_stream(start=0))
    names = {host.address: name for name, host in cluster.workers.items()}
    did = {task["key"]: names[re.search("//(.*):", task["worker"])[1]] for task in stream}
    received = {name: host.received for name, host in cluster.workers.items()}
    return Story(*expected.result(), ended, lost, did, received)


def at_work(scheduler, host):
    """Keys of the tasks that the workers of `host` have, as far as the scheduler knows."""
    found = query_scheduler(scheduler, lambda client: client.processing())
    return [key for worker, keys in found.items() for key in keys if f"//{host.address}:" in worker]


def once(ended, plan):
    """Whether MLflow has one run for each of the plan, FINISHED, and nothing else is left open."""
    keys = Counter(run.data.tags["gridcast.run_key"] for run in ended.of("run"))
    return keys == dict.fromkeys(plan.runs, 1) and {run.info.status for run in ended.runs} == {"FINISHED"}


def only_retries(ended):
    """Whether standard error has only lines about dead workers, if any."""
    retry = re.compile(r"  warning: .*: its worker tcp://\S+ died; tried again \(\d of 2\)")
    return all(retry.fullmatch(line) for line in ended.err.splitlines())


@pytest.mark.slow
def test_a_sweep_survives_hosts_that_are_cut_off_or_die(story):
    assert story.ended.code == 0
    assert only_retries(story.ended)
    assert "8 runs trained, 0 finished before, 0 failed, in " in story.ended.out
    assert once(story.ended, story.plan)


@pytest.mark.slow
def test_it_gives_the_numbers_of_an_undisturbed_one(story):
    assert story.ended.metrics == story.alone.metrics


@pytest.mark.slow
def test_what_a_host_was_at_when_it_was_cut_off_does_not_count(story):
    assert story.lost
    assert not [key for key in story.lost if story.did.get(key) == "first"]


@pytest.mark.slow
def test_a_worker_that_was_missed_ends_when_it_is_back(story, cluster):
    assert story
    first = cluster.workers["first"]
    wait(lambda: not first.pids(), 30, "the worker went on, though the scheduler knows it no more")


@pytest.mark.slow
def test_data_travel_once_to_each_worker_and_not_once_per_task(story):
    size, tasks = len(pickle.dumps(story.plan.dataset)), Counter(story.did.values())
    assert size > 4e6
    for name in ("third", "late"):
        assert tasks[name] >= 2
        assert size < story.received[name] < 1.4 * size


@pytest.fixture(scope="module")
def together(cluster, story, tmp_path_factory, programs):
    """Two sweeps of different experiments at once, on PostgreSQL, begun just after a worker was cut off; and alone."""
    assert story
    record, found, expected = cluster.record, {}, {}
    folder = record.folder / "postgres"
    try:
        with (
            postgres(prefix=record.prefix) as database,
            MlflowServer(folder, database, host=record.address, port=5001, prefix=record.prefix) as server,
        ):
            cluster.workers["third"].cut_off()
            starts = {
                name: Start(host, TWO[name], SHORT, cluster.scheduler, server.uri, name)
                for name, host in cluster.parents.items()
            }
            for name, frame in TWO.items():
                expected[name] = alone(tmp_path_factory.mktemp(name), frame, SHORT, programs, name)
            for name, start in starts.items():
                found[name] = start.ended(server.uri)
    except Unavailable as reason:
        pytest.skip(str(reason))
    return found, expected


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO)
def test_two_sweeps_share_a_cluster_and_a_postgresql_server(together, name):
    (ended, (plan, expected)) = (found[name] for found in together)
    assert ended.code == 0
    assert only_retries(ended)
    assert once(ended, plan)
    assert ended.metrics == expected.metrics


@pytest.fixture(scope="module")
def empty(network, astray):
    """A scheduler without workers; meanwhile the scheduler that nobody is gets its time to answer."""
    assert astray
    return scheduler_on(network.host("empty"))


def pool(scheduler, folder):
    return WorkerPool(WorkerSettings(1, "jax", folder, scheduler=scheduler), None)


def nap(seconds):
    """A task for workers that know no tests: what a function defines travels whole."""
    import time

    return lambda _shared, task, _cache: time.sleep(seconds) or task


def test_a_cluster_without_workers_is_reported(empty, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_workers, "NO_WORKER_TIMEOUT", 2)
    with (
        pool(empty, tmp_path) as nobody,
        pytest.raises(GridcastError, match=f"^{empty}: no worker for 2 s; start some, then run again$"),
    ):
        list(nobody.execute(nap(0), [1]))


@pytest.fixture(scope="module")
def strange(network):
    """A host with another gridcast."""
    host = network.host("strange")
    shutil.copytree(Path(gridcast.__file__).parent, host.folder / "gridcast")
    about = host.folder / "gridcast-0.0.1.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: gridcast\nVersion: 0.0.1\n")
    return host


def test_a_late_worker_with_another_version_does_no_harm(empty, strange, network, tmp_path):
    worker_on(network.host("good"), empty)
    with pool(empty, tmp_path) as crowd:
        results = crowd.execute(nap(0.2), range(10))
        found = [next(results)]
        worker_on(strange, empty, PYTHONPATH=str(strange.folder))
        wait(lambda: logged(strange, "Registered to"), 30, "the other worker did not come")
        found += results
    assert sorted(found) == [(number, number) for number in range(10)]


def test_a_worker_with_another_version_is_refused(empty, strange, tmp_path):
    wait(lambda: logged(strange, "Registered to"), 30, "the other worker did not come")
    said = r"worker tcp://.* has gridcast 0\.0\.1, the sweep has .*; other versions train other weights"
    with pool(empty, tmp_path) as crowd, pytest.raises(ConfigError, match=said):
        list(crowd.execute(nap(0), [1]))


def test_an_address_at_which_nobody_listens_is_reported(astray):
    address, error = astray.result()
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"--scheduler: no Dask scheduler answers at '{address}'")


def test_what_is_no_address_is_refused_at_once(tmp_path):
    write_experiment(tmp_path / "small.yaml", "sales.csv")
    sales().to_csv(tmp_path / "sales.csv", index=False)
    command = [sys.executable, "-m", "gridcast.cli", "run", "small.yaml", "--scheduler", "somewhere"]
    variables = {name: value for name, value in environment().items() if name not in SILENCE}
    done = warm_python.run(command, cwd=tmp_path, env=variables)
    assert done.returncode == 2
    assert re.fullmatch("error: --scheduler: .*'somewhere'.*\n", done.stderr)
