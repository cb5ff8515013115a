"""The end of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SweepResult:
    """The end of a sweep: counts of runs, the winner's MLflow run, and test measures by name (winner first).

    Of the `planned` runs some were `trained` to their end in this start (`confirmed` of them are further seeds of the
    leading configurations), `stopped` early by the search, or `failed`; `skipped` were finished before.
    `winner_is_new` says that the winner was evaluated on the test span in this start. `new_baselines` counts the
    baselines computed in this start, `failed_baselines` has the reason of each that failed, by name. `seconds` are
    those of `training` and of `tests`.
    """

    sweep_id: str
    planned: int
    trained: int
    confirmed: int
    skipped: int
    stopped: int
    failed: int
    winner: Any
    winner_is_new: bool
    test_measures: dict[str, dict[str, float]]
    new_baselines: int
    failed_baselines: Mapping[str, str]
    seconds: dict[str, float]
