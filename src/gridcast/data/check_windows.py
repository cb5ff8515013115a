"""Checks that the series of a panel are long and complete enough for windows in every span."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridcast.config import Experiment, values_of
from gridcast.data.panel import Panel
from gridcast.data.table import ONLY_SERIES
from gridcast.runtime import gaps, windows
from gridcast.runtime.errors import DataError


def longest_lookback(experiment: Experiment) -> int:
    """Return the longest lookback of all runs of `experiment`."""
    in_grid = (lookback for grid in experiment.grid for lookback in values_of(grid.get("lookback", ())))
    return max([experiment.configuration().lookback, *in_grid])


def trainable_series(panel: Panel, experiment: Experiment) -> np.ndarray:
    """Return True (series,) where a series has windows to train and validate a model of its own in every fold."""
    trainable = np.ones(len(panel.series), bool)
    for spans in panel.folds:
        for span in ("train", "validation"):
            index = _usable_windows(panel, experiment, spans[span])
            trainable &= np.isin(np.arange(len(trainable)), index[:, 0])
    return trainable


def check_series(panel: Panel, experiment: Experiment) -> Panel:
    """Return `panel` with warnings, where one network learns all series. Raises DataError.

    Refused are a series too short for its windows in some span, a series that cannot be trained on because of its gaps,
    and a span in which no series has a window.
    """
    for number in range(len(panel.folds)):
        panel = panel.fold(number)
        _check_lengths(panel, experiment)
        panel = _check_gaps(panel, experiment)
    return panel


def check_series_with_own_models(panel: Panel, experiment: Experiment) -> Panel:
    """Return `panel` with warnings, where each series has a model of its own. Raises DataError.

    Series without a value in the training span are left out. Those too short to train on stay, as baselines forecast
    them. Refused is a panel without any series to train on.
    """
    is_seen = np.isfinite(panel.training_target).any(axis=1)
    if not is_seen.all():
        names = ", ".join(panel.series[i] for i in np.flatnonzero(~is_seen)[:5])
        note = f"warning: {int((~is_seen).sum())} series without a value in the training span ({names}): left out"
        panel = replace(panel.take(np.flatnonzero(is_seen)), notes=(*panel.notes, note))
    trainable = trainable_series(panel, experiment)
    if not trainable.any():
        check_series(panel, experiment)  # its error says what is missing
        raise DataError(f"{experiment.data.source}: no series has a window to train and to validate on in every fold")
    if trainable.all():
        return panel
    names = ", ".join(panel.series[i] for i in np.flatnonzero(~trainable)[:5])
    note = (
        f"warning: {int((~trainable).sum())} series too short to train a model of their own (lookback "
        f"{longest_lookback(experiment)} + horizon {experiment.window.horizon}): {names}; the seasonal naive or else "
        "the last value forecasts them"
    )
    return replace(panel, notes=(*panel.notes, note))


def without_short_series(panel: Panel, experiment: Experiment) -> Panel:
    """Return `panel` without the series too short for their windows in some span, and with a note that names them.

    That is what `check_series` refuses. Where each series has a model of its own, those go that cannot be trained.
    Raises DataError where no series is left.
    """
    is_long = np.ones(len(panel.series), bool)
    if experiment.mode != "global":
        is_long &= trainable_series(panel, experiment)
    for number in range(len(panel.folds) if experiment.mode == "global" else 0):
        fold = panel.fold(number)
        for span, needed in _steps_needed(fold, experiment).items():
            is_long &= np.isfinite(fold.target[:, slice(*fold.spans[span])]).sum(axis=1) >= needed
        in_training = _usable_windows(fold, experiment, fold.spans["train"])
        is_long &= np.isin(np.arange(len(is_long)), in_training[:, 0])
    if is_long.all():
        return panel
    names = tuple(panel.series[i] for i in np.flatnonzero(~is_long))
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    if not is_long.any():
        raise DataError(f"data.short: every series is too short for its windows ({listed}); nothing is left")
    note = f"{len(names)} series too short for their windows, or ended early ({listed}): left out (short: drop)"
    kept = panel.take(np.flatnonzero(is_long))
    return replace(kept, notes=(*panel.notes, note), left_out=panel.left_out, too_short=names)


def _steps_needed(panel: Panel, experiment: Experiment) -> dict[str, int]:
    """Observed steps that one window needs in each span of this fold."""
    lookback, horizon = longest_lookback(experiment), experiment.window.horizon
    needed = {"train": lookback + horizon, "validation": horizon, "test": horizon}
    return {span: steps for span, steps in needed.items() if _has_span(panel, span)}


def _usable_windows(panel: Panel, experiment: Experiment, span: tuple[int, int]) -> np.ndarray:
    """Windows (n, 2) within the steps [start, end) of `span` that gaps and masked steps leave to train and score on."""
    return windows.origins(
        np.isfinite(panel.target),
        _window_shape(experiment),
        span,
        settled=gaps.is_settled(panel.target, panel.observed, experiment.data.gaps),
        observed=panel.observed,
    )


def _window_shape(experiment: Experiment) -> windows.WindowShape:
    return windows.WindowShape(longest_lookback(experiment), experiment.window.horizon, experiment.window.stride)


def _check_lengths(panel: Panel, experiment: Experiment) -> None:
    """Raise DataError where a series has fewer observed steps in a span of this fold than one window needs."""
    lookback, horizon = longest_lookback(experiment), experiment.window.horizon
    for span, needed in _steps_needed(panel, experiment).items():
        start, end = panel.spans[span]
        steps = np.isfinite(panel.target[:, start:end]).sum(axis=1)
        short = np.flatnonzero(steps < needed)
        if len(short):
            shortest = int(short[np.argmin(steps[short])])
            remedy = "give a longer series, a shorter window or another split"
            if len(short) < len(steps):
                remedy += ", leave it out with data.select.only, or write data.short: drop to leave out all such series"
            are = "is" if len(short) == 1 else "are"
            raise DataError(
                f"{experiment.data.source}: {_named(panel, shortest, len(short))} {are} too short: "
                f"{int(steps[shortest])} observed steps in the {span} span of {end - start}, {needed} needed (lookback "
                f"{lookback} + horizon {horizon}"
                f"{'' if span == 'train' else ', whose inputs may lie in the span before'}); {remedy}"
            )


def _check_gaps(panel: Panel, experiment: Experiment) -> Panel:
    """Return `panel` with a note on series that filled or masked steps leave without a window in a span of this fold.

    Raises DataError where such a series could not be trained on, and where no series has a window in the span.
    """
    usable = np.isfinite(panel.target)
    if not (usable & ~panel.observed).any():
        return panel
    notes = list(panel.notes)
    for span in ("train", "validation", "test"):
        if not _has_span(panel, span):
            continue
        without_gaps = windows.origins(usable, _window_shape(experiment), panel.spans[span])
        with_gaps = _usable_windows(panel, experiment, panel.spans[span])
        lost = np.setdiff1d(without_gaps[:, 0], with_gaps[:, 0])
        if len(lost) and (span == "train" or not len(with_gaps)):
            raise _too_many_gaps(panel, experiment, span, lost)
        if len(lost):
            names = ", ".join(panel.series[i] for i in lost[:5])
            reason = "filled or masked steps" if experiment.data.zero_runs == "mask" else "filled gaps"
            note = f"warning: {len(lost)} series without a window in the {span} span because of {reason} ({names})"
            if note not in notes:  # the folds before may have said the same
                notes.append(note)
    return replace(panel, notes=tuple(notes))


def _too_many_gaps(panel: Panel, experiment: Experiment, span: str, lost: np.ndarray) -> DataError:
    """Return the error that the series at positions `lost` have no window in `span`."""
    policy, masks = experiment.data.gaps, experiment.data.zero_runs == "mask"
    filled = int((np.isfinite(panel.target) & ~panel.observed)[lost[0]].sum())
    made_up = f"filled (gaps: {policy}){' or masked (zero_runs: mask)' if masks else ''}"
    ends = " and whose inputs end on an observed step" if policy == "interpolate" else ""
    mask_remedy = ", write zero_runs: feature" if masks else ""
    zero = "write gaps: zero if nothing happened then"
    others = f", {zero}, or leave it out with data.select.only" if len(lost) < len(panel.series) else f", or {zero}"
    return DataError(
        f"{experiment.data.source}: {_named(panel, int(lost[0]), len(lost))} with too many gaps: {filled} of its "
        f"{len(panel.times)} steps are {made_up}, which leaves no window in the {span} span whose targets (horizon "
        f"{experiment.window.horizon}) were all observed{ends}; give the missing steps, a coarser data.frequency or a "
        f"shorter horizon{mask_remedy}{others}"
    )


def _has_span(panel: Panel, span: str) -> bool:
    """Only the last fold has a test span."""
    return span != "test" or panel.spans is panel.folds[-1]


def _named(panel: Panel, position: int, count: int) -> str:
    """`series 'pear' and 2 other series`: of `count` series, the one at `position` is named."""
    others = f" and {count - 1} other series" if count > 1 else ""
    name = panel.series[position]
    return ("the series" if name == ONLY_SERIES else f"series '{name}'") + others
