"""The results of a verb on the terminal, as they appear: of a plan, a sweep, a promotion, a comparison."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gridcast.api.progress import Progress
from gridcast.cli import terminal
from gridcast.cli.app import out
from gridcast.runtime.errors import Interrupted

if TYPE_CHECKING:
    from gridcast.api.finished_sweep import Sweep
    from gridcast.monitoring.findings import MonitorFindings
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.sweep_result import SweepResult
    from gridcast.tracking.registry import Promotion


@contextlib.contextmanager
def interruption_explained() -> Iterator[None]:
    """Raise Interrupted with the message of a KeyboardInterrupt, which typer would swallow."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(str(error)) from None


class Printer(Progress):
    """Prints each result; of a sweep it keeps the result for the last lines."""

    def __init__(self) -> None:
        super().__init__(out)
        self.result: SweepResult | None = None
        self.swept_at = self.age = 0.0

    def planned(self, plan: Plan) -> None:
        """Print what was read from the data, and the spans."""
        terminal.print_plan(out, plan)

    def swept(self, result: SweepResult, seconds: float) -> None:
        """Print counts, and winner and baselines on the test span."""
        self.result, self.swept_at = result, time.perf_counter()
        self.age = time.time() - psutil.Process().create_time()
        terminal.print_result(out, result, seconds=seconds)

    def chosen(self, name: str, finished: int, planned: int) -> None:
        """Print the run that is to be promoted."""
        out.print(f"Best of {finished} finished runs ({planned} planned): {name}", markup=False)

    def promoted(self, promotion: Promotion) -> None:
        """Print which version is the champion."""
        terminal.print_promotion(out, promotion)

    def refused(self, reason: str) -> None:
        """Print the gate that refused the winner."""
        out.print(reason, markup=False)

    def ended(self, sweep: Sweep) -> None:
        """Print the times of a sweep that trained, where the report is, and the verdict."""
        assert self.result is not None  # a sweep ends after its training
        if self.result.trained:
            preparation = self.age - sum(self.result.seconds.values())
            after = time.perf_counter() - self.swept_at
            terminal.print_times(out, {"start": preparation, **self.result.seconds, "report and promotion": after})
        terminal.print_outcome(out, sweep, str(self.result.winner.info.run_id))

    def compared(self, findings: MonitorFindings, page: Path) -> None:
        """Print the live errors, the drift, the challengers and the verdict."""
        terminal.print_monitor(out, findings)
        terminal.print_report(out, page)

    def retraining(self) -> None:
        """Print that an alarm starts a sweep."""
        out.print("Training again on the new data; the gates decide what becomes champion.")
