"""What a person sees while a sweep runs: a bar with the time left, or a plain line per run."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from gridcast.sweep.events import SweepEvents
from gridcast.sweep.lease import LeaseClaim


class Progress(SweepEvents):
    """Tells of a sweep on `out`; as a context manager it keeps the bar on the screen."""

    def __init__(self, out: Console) -> None:
        self.out = out
        columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")]
        self.bar = Bar(*columns, console=out, disable=not out.is_terminal)
        self.task = self.bar.add_task("starting the workers", total=None)
        self.done = self.runs = 0
        self.cost_done = self.cost = 0.0
        self.best = float("inf")
        self.begun = time.perf_counter()

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def waits(self, other: LeaseClaim) -> None:
        """Say for whom; nothing is lost by stopping this one."""
        told = f"{other.name} runs this experiment already"
        self.bar.update(self.task, description=f"waiting: {told}")
        self.out.print(f"  {told}; waiting for it to end", markup=False)

    def started(self, done: int, todo: int, cost: float) -> None:
        """Set the scale of the bar."""
        self.runs, self.cost, self.begun = todo, cost, time.perf_counter()
        self.bar.update(self.task, total=todo)
        if done:
            self.out.print(f"  {done} runs are finished already, {todo} to go")

    def finished(self, name: str, cost: float, metrics: Mapping[str, float] | None) -> None:
        """Count a run; a baseline is too short to tell of."""
        if metrics is None:
            self.cost_done += cost
            return
        self.best = min(self.best, metrics["best_val_loss"])
        told = "val_loss {best_val_loss:.5f} in {epochs_trained:.0f} epochs, {fit_seconds:.1f} s".format(**metrics)
        self._advance(cost, f"{name}: {told}")

    def stopped(self, name: str, epochs: int) -> None:
        """Say so where there is no bar."""
        if not self.out.is_terminal:
            self.out.print(f"  {name}: stopped after {epochs} epochs", markup=False)

    def failed(self, name: str, cost: float, reason: str) -> None:
        """Show the reason at once; it also stands in MLflow."""
        self.out.print(f"  failed: {name}: {reason}", markup=False, style="red")
        self._advance(cost, None)

    def _advance(self, cost: float, line: str | None) -> None:
        self.done += 1
        self.cost_done += cost
        left = (time.perf_counter() - self.begun) * (self.cost - self.cost_done) / self.cost_done
        state = f"best val_loss {self.best:.5f}, {format_duration(left)} left"
        self.bar.update(self.task, advance=1, description=state)
        if line and not self.out.is_terminal:
            self.out.print(f"  {self.done}/{self.runs} {line}; {state}", markup=False)


def format_duration(seconds: float) -> str:
    """Such as `40 s`, `3 min 05 s` or `2 h 10 min`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
