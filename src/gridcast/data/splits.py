"""Chronological spans of the time axis: pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spans:
    """Steps [0, train) are for training, [train, validation) for validation, [validation, test) for the test."""

    train: int
    validation: int
    test: int

    def __getitem__(self, name: str) -> tuple[int, int]:
        """First step and the step after the last of the span `train`, `validation` or `test`."""
        return {
            "train": (0, self.train),
            "validation": (self.train, self.validation),
            "test": (self.validation, self.test),
        }[name]


def spans(steps: int, train: float, validation: float) -> Spans:
    """The spans of an axis of `steps` steps; what is left after train and validation is the test span.

    The tiny addend keeps 0.8 + 0.1 from losing a step to binary fractions.
    """
    return Spans(int(steps * train + 1e-9), int(steps * (train + validation) + 1e-9), steps)
