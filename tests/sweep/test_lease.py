"""One sweep at a time: claims of the living are respected, those of the dead are not."""

import dataclasses
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import warm_python

from gridcast.runtime.errors import LeaseLost
from gridcast.sweep import lease
from gridcast.sweep.lease import LeaseClaim
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import open_store


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('lease')}/mlflow.db"


@pytest.fixture
def store(uri, request, monkeypatch):
    monkeypatch.chdir(Path(uri.removeprefix("sqlite:///")).parent)
    return open_store(request.node.name, uri)


@pytest.fixture
def hasty(monkeypatch):
    """Heartbeats and deaths in tenths of seconds."""
    monkeypatch.setattr(lease, "HEARTBEAT_INTERVAL", 0.1)
    monkeypatch.setattr(lease, "DEAD_AFTER", 1.0)


def write(store, claim):
    mlflow_runs.set_experiment_tag(store, claim.tag, json.dumps(dataclasses.asdict(claim)))


def test_a_lease_is_taken_and_given_back(store):
    held = lease.acquire_lease(store)
    (claim,) = lease.read_claims(store)
    assert claim.pid == os.getpid()
    held.ensure_held()
    held.release()
    assert lease.read_claims(store) == []


def test_the_heart_beats(store, hasty):
    held = lease.acquire_lease(store)
    before = lease.read_claims(store)[0].beat
    time.sleep(0.5)
    assert lease.read_claims(store)[0].beat > before
    held.release()
    time.sleep(0.3)
    assert lease.read_claims(store) == []


def test_a_second_start_waits_for_the_first(store):
    first, claims = lease.acquire_lease(store), []
    with ThreadPoolExecutor() as threads:
        second = threads.submit(lease.acquire_lease, store, claims.append)
        time.sleep(0.5)
        assert not second.done()
        first.release()
        second.result(10).release()
    assert [claim.pid for claim in claims] == [os.getpid()]


def test_of_many_starts_at_once_one_at_a_time_goes_on(store):
    inside, most = [], []

    def sweep(number):
        held = lease.acquire_lease(store)
        inside.append(number)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(number)
        held.release()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(sweep, range(4)))
    assert most == [1] * 4
    assert lease.read_claims(store) == []


def test_the_claim_of_a_killed_process_of_this_host_is_dead_at_once(store, uri):
    name = store.client.get_experiment(store.experiment).name
    code = "import os; from gridcast.sweep import lease; from gridcast.tracking.store import open_store; "
    code += f"lease.acquire_lease(open_store({name!r}, {uri!r})); "
    assert warm_python.run([sys.executable, "-c", f"{code} os.kill(os.getpid(), 9)"]).returncode == -9
    (claim,) = lease.read_claims(store)
    assert claim.pid != os.getpid()
    begun = time.monotonic()
    lease.acquire_lease(store).release()
    assert time.monotonic() - begun < lease.DEAD_AFTER / 2
    assert lease.read_claims(store) == []


def test_a_claim_that_could_not_be_withdrawn_does_not_lock_its_own_process_out(store):
    held = lease.acquire_lease(store)
    (claim,) = lease.read_claims(store)
    held.release()
    write(store, claim)
    lease.acquire_lease(store).release()
    assert lease.read_claims(store) == []


def test_a_process_number_that_was_used_again_is_no_life(store):
    write(store, dataclasses.replace(lease._new_claim(), pid=os.getppid(), begun=12345.0))
    assert not lease.ClaimWatch().is_alive(lease.read_claims(store)[0])


def test_a_claim_of_another_host_lives_as_long_as_its_heart_beats(store, hasty):
    far = LeaseClaim("far", "elsewhere/boot", 1, 0.0)
    end = threading.Event()

    def beat():
        number = 0
        while not end.wait(0.1):
            number += 1
            write(store, dataclasses.replace(far, beat=number))

    write(store, far)
    with ThreadPoolExecutor() as threads:
        heart = threads.submit(beat)
        waiting = threads.submit(lease.acquire_lease, store)
        time.sleep(2.5 * lease.DEAD_AFTER)
        assert not waiting.done()
        end.set()
        heart.result()
        stopped = time.monotonic()
        held = waiting.result(20)
        assert time.monotonic() - stopped > lease.DEAD_AFTER / 2
    assert [claim.pid for claim in lease.read_claims(store)] == [os.getpid()]
    held.release()


def test_who_was_taken_over_notices_before_it_writes(store, hasty):
    held = lease.acquire_lease(store)
    mlflow_runs.delete_experiment_tag(store, lease.read_claims(store)[0].tag)
    time.sleep(0.8)
    with pytest.raises(LeaseLost, match="took over this sweep"):
        held.ensure_held()
    assert lease.read_claims(store) == []
