"""The exceptions of gridcast, as one tree; `exit_code` is the exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GridcastError(Exception):
    """Something failed; the message says what, and the remedy."""

    exit_code = 1


class InputError(GridcastError):
    """The user's input is wrong; the message names file, field, value and remedy."""

    exit_code = 2


class ConfigError(InputError):
    """The experiment file cannot be used as it is."""


class DataError(InputError):
    """The table of time series cannot be used as it is."""


class AmbiguousTable(DataError):
    """A table can be read in two ways; the key `setting` of `data` decides, as one of the `choices`."""

    def __init__(self, message: str, setting: str, choices: tuple[str, ...]) -> None:
        super().__init__(message)
        self.setting, self.choices = setting, choices


class NotFinite(DataError):
    """A forecast is not a finite number, because of what the table holds."""


class TrackingError(GridcastError):
    """The MLflow store or server cannot be used."""


class UnknownModel(TrackingError):
    """No registered model has this name."""

    exit_code = InputError.exit_code


class ChampionChanged(TrackingError):
    """Another process has changed the champion meanwhile; this one has changed nothing."""


class Unreachable(TrackingError):
    """The MLflow store or server does not respond; it may later."""


class LeaseLost(TrackingError):
    """Another process has taken over the sweep of this experiment."""


class Diverged(GridcastError):
    """The loss is no longer finite; the same settings would diverge again."""


class PromotionRefused(GridcastError):
    """A promotion gate refused; the registry is unchanged."""


class Interrupted(GridcastError):
    """The user stopped the sweep; the same command resumes it."""

    exit_code = 130


def install_remedy(error: BaseException) -> str:
    """Return `; run: pip install …` if `error` says that the driver for PostgreSQL is missing, else an empty string."""
    is_driver = isinstance(error, ImportError) and error.name == "psycopg"
    return "; run: pip install 'gridcast[postgres]'" if is_driver else ""


def is_data_error(error: BaseException) -> bool:
    """Whether `error` says that the input is wrong, also where it was raised by the code that a model carries.

    That code has exception classes of its own, which only share their exit code with those of this module.
    """
    return getattr(error, "exit_code", None) == DataError.exit_code


def suggest(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` if one of `allowed` resembles `word`, else an empty string."""
    by_lower_case = {name.lower(): name for name in allowed}
    similar = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower_case[similar[0]]}'?" if similar else ""
