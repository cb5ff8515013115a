"""Chronological spans of the time axis: pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spans:
    """Steps [start, train) are for training, [train, validation) for validation, [validation, test) for the test."""

    train: int
    validation: int
    test: int
    start: int = 0

    def __getitem__(self, name: str) -> tuple[int, int]:
        """First step and the step after the last of the span `train`, `validation` or `test`."""
        return {
            "train": (self.start, self.train),
            "validation": (self.train, self.validation),
            "test": (self.validation, self.test),
        }[name]


def spans_by_share(steps: int, train: float, validation: float) -> Spans:
    """Return the spans of an axis of `steps` steps, by the shares for training and validation; the rest is the test.

    The tiny addend keeps 0.8 + 0.1 from losing a step to binary fractions.
    """
    return Spans(int(steps * train + 1e-9), int(steps * (train + validation) + 1e-9), steps)


def rolling_folds(steps: int, count: int, horizon: int, *, expanding: bool) -> tuple[Spans, ...]:
    """Return the spans of `count` rolling origins over an axis of `steps` steps, in the order of time.

    Each fold validates on the `horizon` steps after its training span. The last `horizon` steps of the axis are the
    test span of the last fold; the others have an empty one, as they use nothing beyond their validation span. An
    `expanding` fold trains on all steps before, any other on as many as the first fold has.

    Source: Tashman (2000), "Out-of-sample tests of forecasting accuracy: an analysis and review".
    """
    ends = [steps - (count + 1 - fold) * horizon for fold in range(count)]
    last = len(ends) - 1
    return tuple(
        Spans(end, end + horizon, steps if fold == last else end + horizon, 0 if expanding else fold * horizon)
        for fold, end in enumerate(ends)
    )
