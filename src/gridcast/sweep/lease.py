"""One sweep of an experiment at a time, on whatever machine: claims with a heartbeat, kept in MLflow.

Each parent has a tag of its own on the MLflow experiment. Whoever wants to sweep writes its claim
first and then looks: if another lives, it withdraws and waits. Of two that begin at once, the one
that looks later sees the other, so two can never both go on (Lamport's bakery without the tickets).
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from gridcast.runtime.errors import LeaseLost
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store

TAG_PREFIX = "gridcast.lease."
HEARTBEAT_INTERVAL = 5.0
"""Seconds between two heartbeats."""
DEAD_AFTER = 30.0
"""Seconds without a heartbeat after which a claim of another machine is taken for dead."""

_ACTIVE_OWNERS: set[str] = set()
"""Owners of the claims that this process makes at present."""


@dataclass(frozen=True)
class LeaseClaim:
    """Who sweeps: a process on a host, and its heartbeat so far."""

    owner: str
    host: str
    pid: int
    begun: float
    beat: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"process {self.pid} on {self.host.split('/')[0]}"

    @property
    def tag(self) -> str:
        """The experiment's tag that holds this claim."""
        return TAG_PREFIX + self.owner


class ClaimWatch:
    """Tells which claims live, by what it has seen of them so far."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def is_alive(self, claim: LeaseClaim) -> bool:
        """Whether the process of `claim` may still run.

        One of this host is looked up; one of another host lives as long as its heartbeat was seen to
        move within `DEAD` seconds.
        """
        if claim.host == _host_identity() and claim.pid == os.getpid():
            return claim.owner in _ACTIVE_OWNERS  # else its withdrawal failed, with the server away or the disk full
        if claim.host == _host_identity():
            return abs(_process_start(claim.pid) - claim.begun) < 1
        beat, since = self._seen.get(claim.owner, (-1, 0.0))
        if beat != claim.beat:
            since = time.monotonic()
            self._seen[claim.owner] = claim.beat, since
        return time.monotonic() - since < DEAD_AFTER


class Lease:
    """The right to sweep an experiment, held by a thread that beats until `release`."""

    def __init__(self, store: Store, claim: LeaseClaim) -> None:
        self._store, self._claim = store, claim
        self._proved = time.monotonic()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def ensure_held(self) -> None:
        """Returns where the lease is certainly held. Raises LeaseLost, or Unreachable where nobody can tell."""
        if time.monotonic() - self._proved > DEAD_AFTER / 2:
            self._renew()

    def release(self) -> None:
        """Let the next one sweep."""
        self._end.set()
        _ACTIVE_OWNERS.discard(self._claim.owner)
        with self._lock:
            mlflow_runs.delete_experiment_tag(self._store, self._claim.tag)

    def _renew(self) -> None:
        with self._lock:
            if self._end.is_set():
                return
            if not any(claim.owner == self._claim.owner for claim in read_claims(self._store)):
                raise LeaseLost(
                    "another start took this sweep over while the tracking server could not be reached; "
                    "what was trained here is kept, and the next start here writes it"
                )
            self._claim = replace(self._claim, beat=self._claim.beat + 1)
            _write_claim(self._store, self._claim)
            self._proved = time.monotonic()

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT_INTERVAL):
            try:
                self._renew()
            except LeaseLost:
                return
            except Exception:  # noqa: BLE001, S112 - whoever needs the lease asks for proof and is told
                continue


def acquire_lease(store: Store, waits: Callable[[LeaseClaim], None] = lambda _: None) -> Lease:
    """The lease of the experiment; waits while another process holds it and tells `waits` for whom.

    Claims of the dead are removed on the way. Raises TrackingError.
    """
    claim, watch = _new_claim(), ClaimWatch()

    def others() -> dict[LeaseClaim, bool]:
        return {other: watch.is_alive(other) for other in read_claims(store) if other.owner != claim.owner}

    while True:
        _ACTIVE_OWNERS.add(claim.owner)
        _write_claim(store, claim)
        found = others()
        if not any(found.values()):
            for dead in found:
                mlflow_runs.delete_experiment_tag(store, dead.tag)
            return Lease(store, claim)
        _ACTIVE_OWNERS.discard(claim.owner)
        mlflow_runs.delete_experiment_tag(store, claim.tag)
        waits(next(other for other, lives in found.items() if lives))
        while any(others().values()):
            time.sleep(1)
        # Two that waited for the same one must not withdraw for each other forever.
        time.sleep(random.uniform(0, 1))


def read_claims(store: Store) -> list[LeaseClaim]:
    """Every claim on the experiment, of the living and the dead."""
    tags = mlflow_runs.experiment_tags(store)
    return [LeaseClaim(**json.loads(text)) for name, text in sorted(tags.items()) if name.startswith(TAG_PREFIX)]


def _new_claim() -> LeaseClaim:
    return LeaseClaim(uuid.uuid4().hex, _host_identity(), os.getpid(), _process_start(os.getpid()))


def _write_claim(store: Store, claim: LeaseClaim) -> None:
    mlflow_runs.set_experiment_tag(store, claim.tag, json.dumps(asdict(claim)))


def _process_start(pid: int) -> float:
    """When a living process began (0 for a dead one): a number that was used again is no proof of life."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return 0.0


def _host_identity() -> str:
    """Name of this machine, with what tells containers and reboots apart where the system has it."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    marks = [boot.read_text().strip(), str(space.readlink())] if boot.exists() else [hex(uuid.getnode())]
    return "/".join([socket.gethostname(), *marks])
