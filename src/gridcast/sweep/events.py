"""Callbacks of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

from gridcast.sweep import lease


class SweepEvents:
    """What a sweep tells while it runs; by default nobody listens."""

    def waiting(self, other: lease.LeaseClaim) -> None:
        """Another process sweeps this experiment; this one goes on when that ends."""

    def started(self, done: int, todo: int, cost: float) -> None:
        """`done` runs were finished before, `todo` are to go; `cost` is the sum over all tasks."""

    def finished(self, name: str, cost: float, metrics: Mapping[str, float] | None) -> None:
        """A task ended well; `metrics` are those of a trained run, None for a baseline or the own settings."""

    def stopped(self, name: str, epochs: int) -> None:
        """The search goes on without this run."""

    def failed(self, name: str, cost: float, reason: str) -> None:
        """A task failed; the sweep goes on."""
