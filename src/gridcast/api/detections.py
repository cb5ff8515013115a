"""The scores and events that a detector finds in a table, and their page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridcast.api.models import LoadedDetector, load, model_title
from gridcast.data.atomic_write import atomic_write
from gridcast.data.prediction_files import TableOrPath
from gridcast.runtime.errors import ConfigError, DataError, GridcastError, is_data_error
from gridcast.runtime.model_files import SETTINGS_FILE, TRAINING_SERIES

if TYPE_CHECKING:
    from gridcast.reporting.detection_page import DetectionPage

EVENT_COLUMNS = ("start", "end", "duration", "steps", "peak", "peak_time", "severity", "blame")


@dataclass(frozen=True)
class Detections:
    """Scores and events that the detector `title` found in a table.

    `scores` has a row for each step: time, score, threshold, anomaly, and the contribution of each sensor. `events` has
    a row for each event: start, end (the first and the last step), duration, steps, peak (the highest score),
    peak_time, severity (the highest score in units of the threshold), blame (the sensors with the largest shares of the
    score).

    >>> found = gridcast.detect("plant", readings)
    >>> found.events[["steps", "blame"]].to_dict("records")
    [...]
    >>> found.report("page.html").name
    'page.html'
    """

    title: str
    scores: pd.DataFrame
    events: pd.DataFrame
    page: DetectionPage = field(repr=False)

    @property
    def threshold(self) -> float:
        """The score above which a step is anomalous; a running threshold at the last step."""
        return float(self.scores["threshold"].iloc[-1])

    @property
    def summary(self) -> tuple[str, ...]:
        """Sentences on the result, for a terminal."""
        unscored = int(self.scores["score"].isna().sum())
        flagged = int(self.scores["anomaly"].sum())
        without = f", {unscored:,} of them without a score, for lack of readings around them" if unscored else ""
        steps = f"{len(self.scores):,} steps{without}"
        return (
            f"{self.title}: {steps}; {flagged:,} above the threshold of {self.threshold:.4g}",
            self.page.headline,
        )

    def report(self, path: str | Path) -> Path:
        """Write the page, one HTML file without links to others, whole or not at all; return its path.

        Raises GridcastError.
        """
        from gridcast.reporting import detection_page

        path, text = Path(path), detection_page.render_page(self.page)
        try:
            with atomic_write(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise GridcastError(f"{path}: cannot be written: {error}") from None
        return path


def detect(
    model: str | Path | LoadedDetector,
    readings: TableOrPath | Sequence[TableOrPath],
    *,
    wait: int | None = None,
) -> Detections:
    """Return what a detector finds in `readings`: a frame, a file, a pattern of files, a folder, or several of these.

    `model` is as in `gridcast.load`. The scores are those of `gridcast.follow`, which waits `wait` steps before it
    scores a step (None: half a window), so that both find the same. Raises ConfigError, DataError, TrackingError.

    >>> gridcast.detect("plant", readings).scores.columns.tolist()
    ['time', 'score', 'threshold', 'anomaly', 'flow', 'heat']
    """
    loaded = model if isinstance(model, LoadedDetector) else load(model)
    if not isinstance(loaded, LoadedDetector):
        raise ConfigError(f"{model_title(loaded.reference)} is a forecaster; forecast with it: gridcast predict")
    detector = loaded.loaded.model
    tables = [readings] if isinstance(readings, (str, Path, pd.DataFrame)) else list(readings)
    table = _read_together(tables, loaded)
    try:
        scores = detector.predict(table, {"wait": _wait(detector, wait)})
        times, values = detector.read_table(table)
    except Exception as error:
        if is_data_error(error):
            raise DataError(f"{_shown(tables)}: {error}") from None
        raise
    sensors = dict(zip(detector.sensors, values.T, strict=True))
    return _detections(loaded, scores, pd.DataFrame({detector.time: times} | sensors))


def _read_together(tables: Sequence[TableOrPath], loaded: LoadedDetector) -> pd.DataFrame:
    """The rows of all tables, by time; those that lack sensors, one file for each for instance, are joined by stamp."""
    from gridcast.data import prediction_files

    each = [name for one in tables for name in _files_of(one, loaded)]
    sensors, time = list(loaded.sensors), loaded.loaded.model.time
    if len(each) == 1:
        return prediction_files.read_sensor_table(each[0], loaded.preprocessing)
    read = [prediction_files.read_sensor_table(one, loaded.preprocessing, partial=True) for one in each]
    rows = pd.concat(read, ignore_index=True).sort_values(time, kind="stable", ignore_index=True)
    if any(set(sensors) - set(table.columns) for table in read):
        by_time = rows.groupby(time)[sensors]
        differ = by_time.max() > by_time.min()
        for sensor in differ.columns[differ.any()]:
            stamp = differ.index[differ[sensor]][0]
            raise DataError(f"{_shown(each)}: '{sensor}' has two values at {stamp}; leave one of these files out")
        rows = by_time.first().reset_index()
    return rows


def _files_of(source: TableOrPath, loaded: LoadedDetector) -> list[TableOrPath]:
    """The tables in a folder, as a follower reads them; anything else as it is. Raises DataError for none."""
    from gridcast.monitoring.stream.feed_rows import RowFormat
    from gridcast.monitoring.stream.feeds import FolderFeed

    if isinstance(source, pd.DataFrame) or not Path(source).is_dir():
        return [source]
    found = FolderFeed(Path(source), RowFormat.of_model(loaded.preprocessing)).table_paths()
    if not found:
        raise DataError(f"{source}: no table in this folder")
    return list(found)


def _shown(tables: Sequence[TableOrPath]) -> str:
    from gridcast.api.models import shown_table

    return ", ".join(map(shown_table, tables[:3])) + (" ..." if len(tables) > 3 else "")


def _wait(detector: Any, wait: int | None) -> int:
    """The steps to wait; the code of a detector of version 0.1 does not know how many."""
    from gridcast.runtime import online

    return getattr(detector, "wait", online.default_wait(detector.kind, detector.lookback)) if wait is None else wait


def _detections(loaded: LoadedDetector, scores: pd.DataFrame, values: pd.DataFrame) -> Detections:
    detector, reference = loaded.loaded.model, loaded.reference
    alarms, title = find_events(scores, detector), model_title(reference)
    page = page_of(
        detector,
        title=title,
        name=reference.name or "",
        scores=scores,
        values=values,
        alarms=alarms,
        training=training_summary(reference.uri),
    )
    return Detections(title, scores, alarms, page)


def page_of(
    detector: Any,
    *,
    title: str,
    name: str,
    scores: pd.DataFrame,
    values: pd.DataFrame,
    alarms: pd.DataFrame,
    training: Mapping[str, Any],
    state: Sequence[str] = (),
) -> DetectionPage:
    """Return the page of a detector, registered as `name` if it is, that found the `alarms` in `values`."""
    from gridcast.reporting.detection_page import DetectionPage

    return DetectionPage(
        title=title,
        command=f"gridcast recalibrate {shlex.quote(name)} FILE" if name else "",
        kind=detector.kind,
        sensors=tuple(detector.sensors),
        table=scores,
        sensor_values=values,
        alarms=alarms,
        training=training,
        state=state,
    )


def find_events(scores: pd.DataFrame, detector: Any) -> pd.DataFrame:
    """Return the events in the scores of a detector, see `Detections`."""
    from gridcast.reporting.anomaly_chapter import event_row
    from gridcast.runtime import events

    times, score = pd.DatetimeIndex(scores.iloc[:, 0]), scores["score"].to_numpy(float)
    threshold = scores["threshold"].to_numpy(float)
    contributions, sensors = scores[list(detector.sensors)].to_numpy(float), tuple(detector.sensors)
    settings = {"min_steps": detector.least, "merge_gap": detector.gap}
    step = times[1] - times[0] if len(times) > 1 else pd.Timedelta(0)
    rows = []
    for event in events.find_events(score, threshold, contributions, sensors, **settings):
        at = event.start + int(np.nanargmax(score[event.start : event.end]))
        row = event_row(times, event)
        rows.append(row | {"duration": row["end"] - row["start"] + step, "peak_time": times[at]})
    return pd.DataFrame(rows, columns=EVENT_COLUMNS)


def training_summary(uri: str) -> dict[str, Any]:
    """Return the summary of the training span that the model at `uri` carries, empty where it carries none."""
    from gridcast.tracking import model_loading

    settings = json.loads(model_loading.download_files(uri)[SETTINGS_FILE])
    summary: dict[str, Any] = settings.get(TRAINING_SERIES, {})
    return summary
