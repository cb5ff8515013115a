"""Callbacks of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

from gridcast.sweep import lease


class SweepEvents:
    """Callbacks that report the progress of a sweep; by default each does nothing."""

    def waiting(self, other: lease.LeaseClaim) -> None:
        """Another process runs this experiment; this one continues when that ends."""

    def started(self, done: int, todo: int, cost: float) -> None:
        """The sweep starts: `done` runs are finished already, `todo` remain; `cost` is the sum over all tasks."""

    def confirming(self, configurations: int, todo: int, cost: float) -> None:
        """The search has ended: `todo` further runs confirm its leading configurations, at `cost`."""

    def finished(self, name: str, cost: float, metrics: Mapping[str, float] | None) -> None:
        """A task ended well; `metrics` are those of a run of the grid, None for any other task."""

    def baseline_done(self, name: str, seconds: float) -> None:
        """A baseline has forecast or scored the test span, in so many seconds."""

    def stopped(self, name: str, epochs: int) -> None:
        """The search stopped a run after `epochs` epochs."""

    def failed(self, name: str, cost: float, reason: str) -> None:
        """A task failed; the sweep continues."""
