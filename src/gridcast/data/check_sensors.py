"""Checks of the sensors that a detector watches: complete windows in each span, and labelled steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridcast.config import Experiment
from gridcast.data.check_readings import with_stuck_note, without_impossible_values
from gridcast.data.check_windows import longest_lookback
from gridcast.data.label_leaks import predicts_labels
from gridcast.data.panel import Panel
from gridcast.runtime import windows
from gridcast.runtime.errors import DataError

SPANS = ("train", "validation", "test")


def check_sensors(panel: Panel, experiment: Experiment) -> Panel:
    """Return `panel` with gaps at impossible values, and notes on them, on stuck sensors and on labelled steps.

    These become gaps where they are to be omitted.

    Raises DataError where no window of a span has a value of every sensor at each of its steps.
    """
    if experiment.data.labelled == "omit":
        panel = _without_labelled_steps(panel)
    panel = with_stuck_note(without_impossible_values(panel))
    _check_windows(panel, experiment)
    return panel if panel.labels is None else _with_notes_on_labels(panel, experiment)


def _without_labelled_steps(panel: Panel) -> Panel:
    """The panel with gaps in all sensors at labelled steps before the test span."""
    assert panel.labels is not None
    omitted = panel.labels & (np.arange(len(panel.times)) < panel.spans.validation)
    return replace(panel, target=np.where(omitted, np.nan, panel.target), observed=panel.observed & ~omitted)


def _check_windows(panel: Panel, experiment: Experiment) -> None:
    lookback = longest_lookback(experiment)
    is_complete = np.asarray(panel.observed.all(axis=0, keepdims=True))
    for span in SPANS:
        start, end = panel.spans[span]
        # Windows of the validation span must not reach back into training.
        first = start + lookback if span == "validation" else start
        if not len(windows.origins(is_complete, windows.WindowShape(lookback, 1), (first, end))):
            shares = panel.observed[:, start:end].mean(axis=1)
            sparsest = int(np.argmin(shares))
            raise DataError(
                f"{experiment.data.source}: no window of the {span} span of {end - start} steps has a value of every "
                f"sensor at each of its steps (lookback {lookback} and the one after); '{panel.series[sparsest]}' has "
                f"{100 * shares[sparsest]:.0f} % of its values: leave it out with data.sensors, give a longer table, a "
                "shorter lookback or another split"
            )


def _with_notes_on_labels(panel: Panel, experiment: Experiment) -> Panel:
    assert panel.labels is not None
    is_learnt = experiment.data.labelled == "learn"
    counts = ", ".join(f"{span} {int(panel.labels[slice(*panel.spans[span])].sum()):,}" for span in SPANS)
    use = "only the test uses labels" if is_learnt else "those before the test are left out (labelled: omit)"
    notes = [f"steps labelled as anomalous: {counts}; {use}"]
    early = int(panel.labels[: panel.spans.validation].sum())
    if early and is_learnt:
        notes.append(f"warning: {early:,} labelled steps lie before the test span: they are learnt as if normal")
    for name, row, is_observed in zip(panel.series, panel.target, panel.observed, strict=True):
        if how := predicts_labels(np.where(is_observed, row, np.nan), panel.labels):
            notes.append(
                f"warning: leak: '{name}' predicts the labels on its own ({how}): if it is derived from them, what "
                "detectors find by it means nothing; leave it out with data.sensors"
            )
    return replace(panel, notes=(*panel.notes, *notes))
