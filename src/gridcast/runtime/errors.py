"""Every error a user can meet, as one tree; `exit_code` is what the command line ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GridcastError(Exception):
    """Something failed; the message says what, and what to do about it."""

    exit_code = 1


class InputError(GridcastError):
    """What the user gave is wrong: file, field, value and remedy stand in the message."""

    exit_code = 2


class ConfigError(InputError):
    """The experiment file cannot be used as it is."""


class DataError(InputError):
    """The table of time series cannot be used as it is."""


class TrackingError(GridcastError):
    """The MLflow store or server cannot be used."""


class UnknownModel(TrackingError):
    """There is no registered model of this name."""

    exit_code = InputError.exit_code


class Unreachable(TrackingError):
    """The MLflow store or server gives no answer now; it may later."""


class LeaseLost(TrackingError):
    """Another process sweeps this experiment now."""


class Diverged(GridcastError):
    """Training left the finite numbers; the same settings would do so again."""


class PromotionRefused(GridcastError):
    """A promotion gate said no; the registry is as it was."""


class Interrupted(GridcastError):
    """The user stopped the sweep; the same command goes on with it."""

    exit_code = 130


def suggest(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` when one of `allowed` is close to `word`, else an empty string."""
    by_lower = {name.lower(): name for name in allowed}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
