"""Cost of a command: wall time, processor time and memory of its whole process tree; and tables as text."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

INTERVAL = 2.0
"""Seconds between two measurements of the tree: adding up its memory takes tens of milliseconds of a core."""


@dataclass(frozen=True)
class Cost:
    """Exit code, seconds and megabytes of one command; memory is the peak of the sum over all its processes.

    Shared pages count once (proportional set size) where the system reports them, as Linux does.
    """

    code: int
    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both commands, one after the other."""
        seconds = self.wall_seconds + other.wall_seconds, self.cpu_seconds + other.cpu_seconds
        return Cost(self.code or other.code, *seconds, max(self.peak_megabytes, other.peak_megabytes))

    def shared(self, count: int) -> Cost:
        """Return the share of one in `count`; each of them needed all of the memory."""
        return replace(self, wall_seconds=self.wall_seconds / count, cpu_seconds=self.cpu_seconds / count)


class Tree:
    """A process and all its descendants, including those whose parent has ended."""

    def __init__(self, root: int) -> None:
        self.processes = {root: psutil.Process(root)}
        self.seconds: dict[int, float] = {}
        self.peak = 0.0

    def sample(self) -> None:
        """Find new processes, and read the processor time of each and the memory of all."""
        parents = {process.pid: process.info["ppid"] for process in psutil.process_iter(["ppid"])}
        new = True
        while new:
            new = [pid for pid, parent in parents.items() if parent in self.processes and pid not in self.processes]
            for pid in new:
                with contextlib.suppress(psutil.Error):
                    self.processes[pid] = psutil.Process(pid)
                parents.pop(pid)
        memory = 0
        for pid, process in self.processes.items():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self.seconds[pid] = times.user + times.system
                memory += _bytes(process)
        self.peak = max(self.peak, memory / 2**20)

    def end(self) -> None:
        """Kill the processes that outlived the command, such as daemons."""
        for process in self.processes.values():
            with contextlib.suppress(psutil.Error):
                process.kill()


def run(command: list[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run `command` in `folder` with its output in `folder`/output.txt, and return its cost."""
    before, started = _ended_seconds(), time.perf_counter()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
        tree = Tree(process.pid)
        while True:
            tree.sample()
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(INTERVAL)
                break
    wall = time.perf_counter() - started
    # The system's sum lacks daemons, which no process waits for; the samples lack processes that lived between two.
    spent = max(_ended_seconds() - before, sum(tree.seconds.values()))
    tree.end()
    return Cost(code, wall, spent, tree.peak)


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Return a table as text: the first column aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )


def megabytes(pid: int) -> float:
    """Return the present memory of a process and its descendants."""
    process = psutil.Process(pid)
    return sum(map(_bytes, [process, *process.children(recursive=True)])) / 2**20


def _bytes(process: psutil.Process) -> int:
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))


def _ended_seconds() -> float:
    """Processor seconds of all descendants that have ended and been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
