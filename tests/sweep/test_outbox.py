"""Results on their way to MLflow: kept whole, written once, whatever happens meanwhile."""

import threading
import time

import pytest

from gridcast.runtime.errors import TrackingError, Unreachable
from gridcast.sweep import outbox
from gridcast.sweep.outbox import Recorder
from gridcast.tracking.run_recording import RunEntry
from gridcast.training.atomic_bundle import DamagedError

ENTRY = RunEntry(
    name="GRU-4",
    kind="run",
    key="k1",
    tags={"colour": "red"},
    params={"units": 4, "attention": True, "period": None, "learning_rate": 1e-3},
    metrics={"best_val_loss": 0.1 + 0.2},
    curves={"loss": [(1, 1 / 3), (2, 0.25)]},
    files={"model.keras": bytes(range(256))},
    artifacts={"forecasts.parquet": b"PAR1"},
    backend="jax",
)


def entry(key):
    return RunEntry(f"run {key}", "run", key)


def test_an_entry_comes_back_as_it_was(tmp_path):
    path = outbox.save_entry(tmp_path / "spool", ENTRY)
    found = outbox.load_entry(path)
    assert found.curves == {"loss": [[1, 1 / 3], [2, 0.25]]}
    assert found == RunEntry(**{**vars(ENTRY), "curves": found.curves})
    assert outbox.pending_entries(tmp_path / "spool") == [path]


def test_what_is_written_is_no_longer_kept(tmp_path):
    written = []
    recorder = Recorder(tmp_path, written.append)
    for key in "abc":
        recorder.add(entry(key))
    recorder.flush()
    recorder.close()
    assert [one.key for one in written] == ["a", "b", "c"]
    assert outbox.pending_entries(tmp_path) == []


def test_what_an_earlier_start_left_is_written_first(tmp_path, caplog):
    for key in "ab":
        outbox.save_entry(tmp_path, entry(key))
    written = []
    recorder = Recorder(tmp_path, written.append)
    recorder.add(entry("c"))
    recorder.flush()
    recorder.close()
    assert [one.key for one in written] == ["a", "b", "c"]
    assert "2 results of an earlier start" in caplog.text


def test_while_the_server_is_down_results_wait_and_then_all_are_written(tmp_path, caplog):
    up, written = threading.Event(), []

    def deliver(one):
        if not up.is_set():
            raise Unreachable("http://server: no answer")
        written.append(one.key)

    recorder = Recorder(tmp_path, deliver)
    for key in "abc":
        recorder.add(entry(key))
    while "training goes on" not in caplog.text:
        recorder.check()
        time.sleep(0.01)
    assert (recorder.pending, len(outbox.pending_entries(tmp_path))) == (3, 3)
    up.set()
    recorder.flush()
    recorder.close()
    assert written == ["a", "b", "c"]
    assert outbox.pending_entries(tmp_path) == []
    assert caplog.text.count("training goes on") == 1
    assert "answers again; 3 results" in caplog.text


def test_the_end_does_not_wait_for_a_server_forever(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "FLUSH_TIMEOUT", 0.3)

    def deliver(_):
        raise Unreachable("http://server: no answer")

    recorder = Recorder(tmp_path, deliver)
    recorder.add(entry("a"))
    with pytest.raises(Unreachable, match=r"no answer; 1 results are kept in .*same command writes them"):
        recorder.flush()
    recorder.close()
    assert [path.name for path in outbox.pending_entries(tmp_path)] == ["run-a"]


def test_a_refusal_ends_the_sweep_and_loses_nothing(tmp_path):
    def deliver(_):
        raise TrackingError("no")

    recorder = Recorder(tmp_path, deliver)
    recorder.add(entry("a"))
    with pytest.raises(TrackingError, match="^no$"):
        recorder.flush()
    with pytest.raises(TrackingError, match="^no$"):
        recorder.check()
    recorder.close()
    assert [path.name for path in outbox.pending_entries(tmp_path)] == ["run-a"]


def test_a_damaged_entry_is_renamed_and_the_others_are_written(tmp_path, caplog):
    path = outbox.save_entry(tmp_path, entry("a"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        outbox.load_entry(path)
    written = []
    recorder = Recorder(tmp_path, written.append)
    recorder.add(entry("b"))
    recorder.flush()
    recorder.close()
    assert [one.key for one in written] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["run-a.damaged"]
    assert "damaged" in caplog.text
