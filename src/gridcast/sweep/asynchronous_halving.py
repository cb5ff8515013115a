"""Asynchronous successive halving: runs go on to the next rung as soon as they are among the best there so far.

Source: Li et al. (2020), "A System for Massively Parallel Hyperparameter Tuning" (ASHA), with runs proposed by the
tree-structured Parzen estimator instead of at random. Departure: decisions are made for a round of runs at a time, from
all results of the rounds before, so that a sweep that was killed goes on to the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

from gridcast.sweep.search_space import Attempt, SearchSpace


class AshaRounds:
    """The rounds of a search of at most `limit` runs over `rungs`, the epochs at which runs are compared."""

    def __init__(self, space: SearchSpace, rungs: tuple[int, ...], *, reduction: int, limit: int, size: int) -> None:
        self.space, self.rungs, self.reduction, self.limit, self.size = space, rungs, reduction, limit, size
        self.attempts: list[Attempt] = []
        self.reached: dict[str, int] = {}  # the highest rung that each run was sent to, by key

    def rounds(self) -> Generator[dict[str, int], Mapping[str, float], None]:
        """Yield the epoch up to which each run of a round is trained, by key; is sent their costs there."""
        while jobs := self._next_jobs():
            costs = yield {key: self.rungs[rung] for key, rung in jobs.items()}
            for attempt in self.attempts:
                if attempt.key in jobs:
                    rung = jobs[attempt.key]
                    attempt.costs[self.rungs[rung]] = costs[attempt.key]
                    attempt.is_complete = rung == len(self.rungs) - 1

    def _next_jobs(self) -> dict[str, int]:
        """Return the rung of each run of the next round, by key; empty at the end of the search."""
        jobs: dict[str, int] = {}
        has_more = True
        while len(jobs) < self.size:
            is_last = not has_more or len(self.attempts) >= self.limit
            promoted = self._promotable(jobs, is_last=is_last)
            if promoted is not None:
                key, rung = promoted
            elif is_last:
                break
            else:
                attempt = self.space.propose(self.attempts)
                has_more = attempt is not None
                if attempt is None:
                    continue
                self.attempts.append(attempt)
                key, rung = attempt.key, 0
            jobs[key] = self.reached[key] = rung
        return jobs

    def _promotable(self, jobs: Mapping[str, int], *, is_last: bool) -> tuple[str, int] | None:
        """Return a run that goes on, and the rung that it goes to: from the highest rung on which there is one.

        Of the runs on a rung those in the best 1 / `reduction`, rounded down as in the paper; rounded up when no run is
        started any more, so that one comes to its end.
        """
        for rung in reversed(range(len(self.rungs) - 1)):
            epoch = self.rungs[rung]
            on_rung = [attempt for attempt in self.attempts if epoch in attempt.costs]
            share = len(on_rung) / self.reduction
            best = sorted(on_rung, key=lambda attempt: attempt.costs[epoch])
            for attempt in best[: math.ceil(share) if is_last else math.floor(share)]:
                is_waiting = self.reached[attempt.key] == rung and attempt.key not in jobs
                if is_waiting and math.isfinite(attempt.costs[epoch]):
                    return attempt.key, rung + 1
        return None
