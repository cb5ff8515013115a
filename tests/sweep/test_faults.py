"""After each fault the next start finishes the rest, nothing is lost, nothing is doubled."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
import warm_python

import storm
from gridcast.config import read
from gridcast.runtime.errors import GridcastError, LeaseLost, TrackingError, Unreachable
from gridcast.sweep import outbox, plan, runner
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.live_runs import LiveRuns
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, run_recording, sqlite_store
from gridcast.tracking.store import create_tables, open_store
from small_experiments import sales, write_experiment
from tracking_servers import MlflowServer, PreparedServer, end, wait

EXPERIMENT = {
    "baselines": ["last value"],  # the naive ones: others only take time
    "grid": {"learning_rate": [0.01, 0.003]},
    "training": {"epochs": 50, "patience": 50, "checkpoint_seconds": 0.1},
}


@pytest.fixture(scope="module")
def calm(tmp_path_factory, programs):
    """An undisturbed sweep's contents, and the folder in which it ran."""
    folder = tmp_path_factory.mktemp("calm")
    sales(200).to_csv(folder / "sales.csv", index=False)
    write_experiment(folder / "experiment.yaml", **EXPERIMENT)
    with contextlib.chdir(folder):
        go_on(folder, programs)
    return storm.contents(uri_of(folder))[0], folder


@pytest.fixture
def project(calm, tmp_path, monkeypatch):
    """A project with the same experiment, in which nothing was trained yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("sales.csv", "experiment.yaml"):
        shutil.copy(calm[1] / name, tmp_path)
    (tmp_path / "server").mkdir()
    with contextlib.chdir(tmp_path / "server"):
        sqlite_store.create_database(Path("mlflow.db"), create_tables)
    return tmp_path


def uri_of(folder):
    return f"sqlite:///{folder}/mlflow.db"


def planned(folder):
    return plan.make_plan(read(folder / "experiment.yaml"), "", "jax")


def go_on(folder, cache=None, events=None, uri=None):
    """One start in this process."""
    store = open_store("small", uri or uri_of(folder))
    return runner.run_sweep(
        planned(folder), store, WorkerSettings(1, "jax", cache or folder / ".gridcast"), events or SweepEvents()
    )


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def _no_survivors():
    yield
    while STARTED:
        end(STARTED.pop())


def start(folder, *command, **environment):
    """One start as a process group of its own."""
    # MLflow leaves the address of this process's last store in the environment.
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with (folder / "output.txt").open("a") as output:
        STARTED.append(
            warm_python.Popen(
                command, cwd=folder, stdout=output, stderr=output, start_new_session=True, env=inherited | environment
            )
        )
    return STARTED[-1]


def training(folder):
    """Whether a run of the project has been trained for a while."""
    return any((folder / ".gridcast" / "checkpoints").glob("[!.]*"))


def complete(calm, folder, uri=None):
    """Nothing lost, nothing doubled, nothing left behind, and the metrics of an undisturbed sweep."""
    found, statuses = storm.contents(uri or uri_of(folder))
    assert found == calm[0]
    assert not statuses["RUNNING"]
    kept = [path for name in ("spool", "checkpoints") for path in (folder / ".gridcast" / name).rglob("*")]
    assert [path for path in kept if path.is_file()] == []
    return statuses


def test_a_parent_killed_while_it_writes_a_run_leaves_neither_half_a_run_nor_two(calm, project):
    store = open_store("small", uri_of(project))
    first, second, *_ = planned(project).runs
    go_on_with_one = run_recording.record_run(store, "parent", run_recording.RunEntry("GRU", "run", first))
    for key in (first, second):
        # Killed after the result was kept and before it was written, or before that was noted.
        outbox.save_entry(runner.spool_folder(project / ".gridcast", store), run_recording.RunEntry("GRU", "run", key))
    half = store.client.create_run(
        store.experiment,
        tags={mlflow_runs.KIND_TAG: "run", mlflow_runs.KEY_TAG: second, "mlflow.parentRunId": "parent"},
    )
    mlflow_runs.close_stale_runs(store)
    assert store.client.get_run(half.info.run_id).info.status == "KILLED"
    recorder = outbox.Recorder(
        runner.spool_folder(project / ".gridcast", store),
        LiveRuns(planned(project), store, "parent", type("Held", (), {"ensure_held": lambda _: None})()).record,
    )
    recorder.flush()
    recorder.close()
    done = mlflow_runs.finished_runs(store, [first, second])
    assert done[first].info.run_id == go_on_with_one
    assert done.keys() == {first, second}
    assert len(mlflow_runs.search_runs(store, "attributes.status = 'FINISHED'")) == 2


def test_of_two_records_of_one_run_the_first_stays(project):
    store = open_store("small", uri_of(project))
    ids = [run_recording.record_run(store, "parent", run_recording.RunEntry("GRU", "run", "k1")) for _ in range(2)]
    assert mlflow_runs.finished_runs(store, ["k1"])["k1"].info.run_id == ids[0]
    mlflow_runs.close_stale_runs(store)
    assert [store.client.get_run(run_id).info.status for run_id in ids] == ["FINISHED", "KILLED"]


@pytest.mark.slow
def test_a_second_interrupt_stops_at_once(project):
    with MlflowServer(project / "server") as server:
        process = start(project, *storm.GRIDCAST, "run", "experiment.yaml", MLFLOW_TRACKING_URI=server.uri)
        wait(lambda: training(project), 60, "no run was trained")
        workers = storm.workers(process)
        # A server that hangs makes the orderly end take its time.
        os.kill(server.process.pid, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert time.monotonic() - begun < 1
        assert psutil.wait_procs(workers, timeout=10)[1] == []
        os.kill(server.process.pid, signal.SIGCONT)


class Outage(SweepEvents):
    """When the first run of a sweep ends, the server hangs for some `seconds`, or dies."""

    def __init__(self, server, seconds=None):
        self.server, self.seconds, self.lost = server, seconds, False

    def finished(self, name, cost, metrics):
        if metrics is None or self.lost:
            return
        self.lost = True
        if self.seconds is None:
            self.server.kill()
        else:
            group = self.server.process.pid
            os.killpg(group, signal.SIGSTOP)
            threading.Timer(self.seconds, os.killpg, (group, signal.SIGCONT)).start()


@pytest.mark.slow
def test_a_server_that_hangs_in_the_middle_gets_every_result_when_it_is_back(calm, project, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with MlflowServer(project / "server") as server, caplog.at_level(logging.WARNING, "gridcast"):
        go_on(project, uri=server.uri, events=Outage(server, 15))
        complete(calm, project, server.uri)
    assert "training goes on, results are kept in" in caplog.text
    assert "the tracking server answers again" in caplog.text


def test_a_server_that_is_lost_at_the_end_gets_the_results_with_the_next_start(calm, project, monkeypatch):
    monkeypatch.setattr(outbox, "FLUSH_TIMEOUT", 2.0)
    with PreparedServer(project / "server") as server:
        with pytest.raises(Unreachable, match="results are kept in .* writes them when the server is back"):
            go_on(project, uri=server.uri, events=Outage(server))
        kept = outbox.pending_entries(next((project / ".gridcast" / "spool").iterdir()))
        assert len(kept) >= 2
        server.start()
        result = go_on(project, uri=server.uri)
        assert (result.trained, result.skipped) == (0, 2)
        complete(calm, project, server.uri)


def test_a_server_that_is_down_at_the_start_is_reported_soon(project):
    server = MlflowServer(project / "server")
    begun = time.monotonic()
    with pytest.raises(TrackingError, match=f"^{server.uri}: the MLflow store cannot be used"):
        go_on(project, uri=server.uri)
    assert time.monotonic() - begun < 20


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 32 MB."""
    try:
        with storm.small_disk(tmp_path / "disk", 32) as folder:
            yield folder
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk of its own cannot be mounted here: {error}")


def fill(folder):
    with contextlib.suppress(OSError), (folder / "rubbish").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return folder / "rubbish"


def test_a_full_disk_is_reported_and_the_sweep_goes_on_when_there_is_space(calm, project, small_disk, monkeypatch):
    for name in ("sales.csv", "experiment.yaml"):
        shutil.copy(project / name, small_disk)
    monkeypatch.chdir(small_disk)

    class Fills(SweepEvents):
        def finished(self, name, cost, metrics):
            if metrics is not None and not (small_disk / "rubbish").exists():
                fill(small_disk)

    with pytest.raises((TrackingError, OSError), match=r"No space left|disk is full|free some space"):
        go_on(small_disk, events=Fills())
    (small_disk / "rubbish").unlink()
    result = go_on(small_disk)
    assert result.skipped >= 1
    complete(calm, small_disk)


def test_a_disk_that_is_full_at_the_start_is_reported_in_a_line(project, small_disk):
    for name in ("sales.csv", "experiment.yaml"):
        shutil.copy(project / name, small_disk)
    fill(small_disk)
    output = run_once(small_disk)
    assert output.returncode == 1
    assert "Traceback" not in output.stderr
    assert "space" in output.stderr or "disk is full" in output.stderr
    (small_disk / "rubbish").unlink()
    assert [path for path in small_disk.iterdir() if path.suffix == ".db" and not path.stat().st_size] == []


def test_a_read_only_folder_is_reported_in_a_line(project, small_disk):
    for name in ("sales.csv", "experiment.yaml"):
        shutil.copy(project / name, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    output = run_once(small_disk)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert output.returncode == 1
    assert "Traceback" not in output.stderr
    assert "read-only" in output.stderr.lower() or "readonly" in output.stderr.lower() or "writ" in output.stderr
    assert sorted(path.name for path in small_disk.iterdir()) == ["experiment.yaml", "sales.csv"]


def run_once(folder):
    command = [*storm.GRIDCAST, "run", "experiment.yaml", "--workers", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return warm_python.run(command, cwd=folder, env=environment)


def test_a_run_over_its_time_limit_fails_with_its_reason(project):
    write_experiment(project / "experiment.yaml", **EXPERIMENT | {"training": {"max_minutes": 1e-5}})
    with pytest.raises(GridcastError, match="no run finished"):
        go_on(project)
    store = open_store("small", uri_of(project))
    failed = mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run' and attributes.status = 'FAILED'")
    assert len(failed) == 2
    assert all("exceeded training.max_minutes (1e-05)" in run.data.tags[mlflow_runs.ERROR_TAG] for run in failed)


@pytest.mark.slow
def test_changed_data_are_other_work_and_the_report_does_not_mix_them(calm, project):
    from gridcast.reporting import record

    shutil.copytree(calm[1] / "mlruns", project / "mlruns")
    before = go_on(project)
    table = sales(200)
    table.loc[0, "quantity"] += 1
    table.to_csv("sales.csv", index=False)
    after = go_on(project)
    assert (before.trained, after.trained, after.skipped) == (2, 2, 0)
    assert after.sweep_id != before.sweep_id
    store = open_store("small", uri_of(project))
    reported = record.read_sweep(store, "small")
    assert set(reported.runs["key"]) == set(planned(project).runs)
    assert (
        len(mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run' and attributes.status = 'FINISHED'"))
        == 4
    )


def test_a_sweep_that_was_taken_over_records_nothing_more(project, monkeypatch):
    from gridcast.sweep import lease

    monkeypatch.setattr(lease, "DEAD_AFTER", 0.0)

    class TakenOver(SweepEvents):
        def started(self, done, todo, cost):
            store = open_store("small", uri_of(project))
            for claim in lease.read_claims(store):
                mlflow_runs.delete_experiment_tag(store, claim.tag)

    with pytest.raises(LeaseLost, match="what was trained here is kept"):
        go_on(project, events=TakenOver())
    store = open_store("small", uri_of(project))
    assert mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run'") == []
    assert outbox.pending_entries(runner.spool_folder(project / ".gridcast", store)) != []


def test_a_finished_sweep_starts_no_workers(calm, monkeypatch):
    monkeypatch.chdir(calm[1])
    result = go_on(Path(calm[1]), events=None, cache=calm[1] / "nothing")
    assert (result.trained, result.skipped) == (0, 2)
    assert not (calm[1] / "nothing" / "jax").exists()
