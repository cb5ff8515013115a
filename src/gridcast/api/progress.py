"""Progress of a sweep: a bar with the time left on a terminal, else one plain line per run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from gridcast.api.events import RunEvents
from gridcast.sweep.lease import LeaseClaim
from gridcast.tracking.addresses import without_credentials

if TYPE_CHECKING:
    from gridcast.api.finished_sweep import Sweep
    from gridcast.sweep.plan import Plan


class Progress(RunEvents):
    """Prints the events of a sweep on `out`; as a context manager it shows the bar."""

    def __init__(self, out: Console) -> None:
        self.out = out
        columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")]
        self.bar = Bar(*columns, console=out, disable=not out.is_terminal)
        self.task = self.bar.add_task("starting the workers", total=None)
        self.done = self.runs = 0
        self.cost_done = self.cost = 0.0
        self.best = float("inf")
        self.started_at = time.perf_counter()

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.update(self.task, description=self._state("done" if kind is None else "stopped"))
        self.bar.stop()

    def waiting(self, other: LeaseClaim) -> None:
        """Print which process is waited for; nothing is lost by stopping this one."""
        message = f"{other.name} runs this experiment already"
        self.bar.update(self.task, description=f"waiting: {message}")
        self.out.print(f"  {message}; waiting for it to end", markup=False)

    def started(self, done: int, todo: int, cost: float) -> None:
        """Set the scale of the bar."""
        self.runs, self.cost, self.started_at = todo, cost, time.perf_counter()
        self.bar.update(self.task, total=todo)
        if done:
            self.out.print(f"  {done} runs are finished already, {todo} to go")

    def confirming(self, configurations: int, todo: int, cost: float) -> None:
        """Extend the scale of the bar, and print what follows."""
        self.runs, self.cost = self.runs + todo, self.cost + cost
        self.bar.update(self.task, total=self.runs)
        plural = "s" if todo > 1 else ""
        self.out.print(f"  confirming the {configurations} leading configurations: {todo} run{plural} with more seeds")

    def finished(self, name: str, cost: float, metrics: Mapping[str, float] | None) -> None:
        """Count a run; `baseline_done` reports baselines."""
        if metrics is None:
            self.cost_done += cost
            return
        self.best = min(self.best, metrics["best_val_loss"])
        result = "val_loss {best_val_loss:.5f} in {epochs_trained:.0f} epochs, {fit_seconds:.1f} s".format(**metrics)
        self._advance(cost, f"{name}: {result}")

    def baseline_done(self, name: str, seconds: float) -> None:
        """Print a line where there is no bar, else show which baseline is done."""
        line = f"baseline {name}: {seconds:.1f} s"
        self.bar.update(self.task, description=self._state(line))
        if not self.out.is_terminal:
            self.out.print(f"  {line}", markup=False)

    def stopped(self, name: str, epochs: int) -> None:
        """Print a line where there is no bar."""
        if not self.out.is_terminal:
            self.out.print(f"  {name}: stopped after {epochs} epochs", markup=False)

    def failed(self, name: str, cost: float, reason: str) -> None:
        """Print the reason at once; MLflow has it too."""
        self.out.print(f"  failed: {name}: {reason}", markup=False, style="red")
        self._advance(cost, None)

    def _advance(self, cost: float, line: str | None) -> None:
        self.done += 1
        self.cost_done += cost
        if self.done > self.runs:  # how many runs `asha` trains to the end is known when it ends
            self.runs = self.done
            self.bar.update(self.task, total=self.runs)
        seconds_left = (time.perf_counter() - self.started_at) * (self.cost - self.cost_done) / self.cost_done
        state = self._state(f"{format_duration(seconds_left)} left" if self.done < self.runs else "all runs done")
        self.bar.update(self.task, advance=1, description=state)
        if line and not self.out.is_terminal:
            self.out.print(f"  {self.done}/{self.runs} {line}; {state}", markup=False)

    def _state(self, ending: str) -> str:
        return f"best val_loss {self.best:.5f}, {ending}" if self.best < float("inf") else ending


class CallerProgress(Progress):
    """The progress of a sweep that a script or a notebook started: the bar or the lines, on standard error."""

    def __init__(self) -> None:
        super().__init__(Console(stderr=True, highlight=False, soft_wrap=True))

    def planned(self, plan: Plan) -> None:
        """Print how the data were read, and warnings about them."""
        for note in plan.panel.notes:
            self.out.print(f"  {without_credentials(note)}", markup=False)

    def refused(self, reason: str) -> None:
        """Print why the winner is not promoted."""
        self.out.print(f"  {reason}", markup=False)

    def ended(self, sweep: Sweep) -> None:
        """Print what failed."""
        if sweep.failure:
            self.out.print(f"  warning: {sweep.failure}", markup=False, style="yellow")


def format_duration(seconds: float) -> str:
    """Return a text such as `40 s`, `3 min 05 s` or `2 h 10 min`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
