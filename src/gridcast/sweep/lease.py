"""One sweep of an experiment at a time, on any machine: claims with a heartbeat, stored in MLflow.

MLflow offers no lock, only tags of an experiment. So each process has a tag of its own, its claim. A process that
wants to sweep writes its claim first and then reads all claims: if another process is alive, it withdraws and
waits. Of two that start at once, the one that reads later sees the claim of the other, so two can never both go on
(Lamport's bakery without the tickets).
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
"""Seconds without a heartbeat after which a claim of another machine counts as dead."""

_ACTIVE_OWNERS: set[str] = set()
"""Owners of the claims that this process makes at present."""


@dataclass(frozen=True)
class LeaseClaim:
    """The claim of a process on a host: when the process began, and its heartbeats so far."""

    owner: str
    host: str
    pid: int
    begun: float
    beat: int = 0

    @property
    def name(self) -> str:
        """The process in words."""
        return f"process {self.pid} on {self.host.split('/')[0]}"

    @property
    def tag(self) -> str:
        """The experiment's tag that holds this claim."""
        return TAG_PREFIX + self.owner


class ClaimWatch:
    """Decides which claims are alive, from what it has seen of their heartbeats."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}  # by owner: the last new heartbeat, and when it was seen

    def is_alive(self, claim: LeaseClaim) -> bool:
        """Whether the process of `claim` may still run.

        A process of this host is looked up. One of another host is alive as long as its heartbeat was seen to
        change within `DEAD_AFTER` seconds; the clocks of the two hosts are never compared.
        """
        if claim.host == _host_identity():
            if claim.pid == os.getpid():
                # A claim of this process that is not active could not be withdrawn: no server, or a full disk.
                return claim.owner in _ACTIVE_OWNERS
            return abs(_process_start(claim.pid) - claim.begun) < 1
        beat, since = self._seen.get(claim.owner, (-1, 0.0))
        if beat != claim.beat:
            since = time.monotonic()
            self._seen[claim.owner] = claim.beat, since
        return time.monotonic() - since < DEAD_AFTER


class Lease:
    """The right to sweep an experiment, kept by a heartbeat thread until `release`."""

    def __init__(self, store: Store, claim: LeaseClaim) -> None:
        self._store, self._claim = store, claim
        self._last_renewal = time.monotonic()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="lease", daemon=True)
        self._thread.start()

    def ensure_held(self) -> None:
        """Return if the lease is certainly held. Raises LeaseLost, or Unreachable if it cannot be checked.

        Others take the lease over after `DEAD_AFTER` seconds without a heartbeat; half of that leaves time to write.
        """
        if time.monotonic() - self._last_renewal > DEAD_AFTER / 2:
            self._renew()

    def release(self) -> None:
        """Let the next process sweep."""
        self._end.set()
        _ACTIVE_OWNERS.discard(self._claim.owner)
        with self._lock:  # a heartbeat under way would write the claim again after it was deleted
            mlflow_runs.delete_experiment_tag(self._store, self._claim.tag)

    def _renew(self) -> None:
        with self._lock:
            if self._end.is_set():
                return
            # A process that takes over the lease deletes the claims that it considers dead.
            if not any(claim.owner == self._claim.owner for claim in read_claims(self._store)):
                raise LeaseLost(
                    "another start took over this sweep while the tracking server could not be reached; "
                    "what was trained here is kept, and the next start here writes it"
                )
            self._claim = replace(self._claim, beat=self._claim.beat + 1)
            _write_claim(self._store, self._claim)
            self._last_renewal = time.monotonic()

    def _keep_alive(self) -> None:
        while not self._end.wait(HEARTBEAT_INTERVAL):
            try:
                self._renew()
            except LeaseLost:
                return
            except Exception:  # noqa: BLE001, S112 - `ensure_held` raises it where the lease is needed
                continue


def acquire_lease(store: Store, on_wait: Callable[[LeaseClaim], None] = lambda _: None) -> Lease:
    """Return the lease of the experiment; while another process holds it, call `on_wait` with its claim and wait.

    Claims of dead processes are removed. Raises TrackingError.
    """
    claim, watch = _new_claim(), ClaimWatch()

    def other_claims() -> dict[LeaseClaim, bool]:
        """The claims of others, and whether they are alive."""
        return {other: watch.is_alive(other) for other in read_claims(store) if other.owner != claim.owner}

    while True:
        # Write first, read afterwards: see the module's docstring.
        _ACTIVE_OWNERS.add(claim.owner)
        _write_claim(store, claim)
        others = other_claims()
        if not any(others.values()):
            for dead in others:
                mlflow_runs.delete_experiment_tag(store, dead.tag)
            return Lease(store, claim)
        _ACTIVE_OWNERS.discard(claim.owner)
        mlflow_runs.delete_experiment_tag(store, claim.tag)
        on_wait(next(other for other, is_alive in others.items() if is_alive))
        while any(other_claims().values()):
            time.sleep(1)
        # Two that waited for the same process must not withdraw for each other forever.
        time.sleep(random.uniform(0, 1))


def read_claims(store: Store) -> list[LeaseClaim]:
    """Return every claim on the experiment, alive or dead."""
    tags = mlflow_runs.experiment_tags(store)
    return [LeaseClaim(**json.loads(text)) for name, text in sorted(tags.items()) if name.startswith(TAG_PREFIX)]


def _new_claim() -> LeaseClaim:
    return LeaseClaim(owner=uuid.uuid4().hex, host=_host_identity(), pid=os.getpid(), begun=_process_start(os.getpid()))


def _write_claim(store: Store, claim: LeaseClaim) -> None:
    mlflow_runs.set_experiment_tag(store, claim.tag, json.dumps(asdict(claim)))


def _process_start(pid: int) -> float:
    """Return when a living process began, 0 for a dead one; the number alone may have been given to a new process."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return 0.0


def _host_identity() -> str:
    """Return the name of this machine, with what distinguishes containers and reboots where the system has it."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    marks = [boot.read_text().strip(), str(namespace.readlink())] if boot.exists() else [hex(uuid.getnode())]
    return "/".join([socket.gethostname(), *marks])
