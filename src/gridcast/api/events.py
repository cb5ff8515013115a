"""Callbacks of the use cases, in the order in which their results appear."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from gridcast.sweep.events import SweepEvents

if TYPE_CHECKING:
    from gridcast.api.finished_sweep import Sweep
    from gridcast.monitoring.findings import MonitorFindings
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.sweep_result import SweepResult
    from gridcast.tracking.registry import Promotion

LOG = logging.getLogger("gridcast")
WARNING = "warning: "
"""Begins those notes on the data that are warnings."""


class RunEvents(SweepEvents):
    """Callbacks of a use case; by default each does nothing. As a context manager it encloses the training."""

    def __enter__(self) -> RunEvents:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def planned(self, plan: Plan) -> None:
        """The data were read and the splits simulated."""

    def swept(self, result: SweepResult, seconds: float) -> None:
        """Everything is trained and the winner was evaluated; it took `seconds`."""

    def chosen(self, name: str, finished: int, planned: int) -> None:
        """The run `name`, which is to be promoted, is the best of the `finished` ones."""

    def promoted(self, promotion: Promotion) -> None:
        """A version is champion."""

    def refused(self, reason: str) -> None:
        """A gate refused the winner of a sweep."""

    def ended(self, sweep: Sweep) -> None:
        """A sweep is over, its report written; some of its runs may have failed."""

    def compared(self, findings: MonitorFindings, page: Path) -> None:
        """Forecasts were compared with actual values; the `page` is written."""

    def retraining(self) -> None:
        """An alarm starts a sweep on new data."""


class Quiet(RunEvents):
    """Logs what must not be missed, and nothing else."""

    def planned(self, plan: Plan) -> None:
        """Log the warnings about the data."""
        for note in plan.panel.notes:
            if note.startswith(WARNING):
                LOG.warning("%s", note.removeprefix(WARNING))

    def ended(self, sweep: Sweep) -> None:
        """Log what failed."""
        if sweep.failure:
            LOG.warning("%s", sweep.failure)
