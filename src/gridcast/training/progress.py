"""Progress reports of a run while it trains: its epochs and the times at which they ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

REPORT_INTERVAL = 1.0
"""Seconds between two reports of a run: epochs of small networks take milliseconds."""


@dataclass(frozen=True)
class RunProgress:
    """Epochs of the run `key`, which began to train at `started` (seconds since 1970, as all times here).

    They are numbered from `first` on; `times` are those at which they ended, `curves` their values by curve.
    """

    key: str
    started: float
    first: int = 1
    times: tuple[float, ...] = ()
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


Report = Callable[[RunProgress], None]


@dataclass
class ProgressReporter:
    """Reports the epochs of one run to `report`, those of a second together."""

    key: str
    report: Report
    sent: int = 0
    last_report: float | None = None

    def update(self, times: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
        """Report the epochs that are new. `times` are the start of the run and the end of each epoch.

        The first call reports at once, even without an epoch: the run has begun.
        """
        now = time.monotonic()
        if self.last_report is not None and now - self.last_report < REPORT_INTERVAL:
            return
        new = {name: tuple(values[self.sent :]) for name, values in curves.items()}
        self.report(RunProgress(self.key, times[0], self.sent + 1, tuple(times[self.sent + 1 :]), new))
        self.sent, self.last_report = len(times) - 1, now
