"""Detectors in use: follow a stream, recompute a threshold."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridcast.api import model_argument
from gridcast.api.folders import CACHE, REPORTS
from gridcast.api.keras_session import keras_session
from gridcast.api.models import LoadedDetector, load_reference, model_title
from gridcast.runtime.errors import ConfigError, DataError, TrackingError, is_data_error

if TYPE_CHECKING:
    import numpy as np

    from gridcast.monitoring.normal_operation import ScoredOperation
    from gridcast.tracking.model_loading import LoadedModel, ModelReference
    from gridcast.tracking.registry import Promotion


def follow(
    model: str | Path,
    feed: str | Path,
    *,
    every: str = "15m",
    once: bool = False,
    wait: int | None = None,
    webhook: str | None = None,
    alert: Sequence[str] = (),
    record: Path | None = None,
    reports: Path = REPORTS,
    tell: Callable[[str], None] = print,
) -> Path:
    """Score a stream of sensor data and raise alerts until Ctrl-C, or once; return the path of the record.

    `model` is a registered detector, whose champion is used, also when it changes. `feed` is a folder of CSV files,
    or a URL that answers GET URL?after=TIME with rows, and is looked at `every` interval such as 90s, 15m, 2h. Each row
    is scored once, even if this is called again later; each event raises one alert, which goes to `tell`, as do other
    messages, to `webhook` (POST of JSON), and to the apprise addresses `alert`. `wait` is the number of steps by which
    each verdict is delayed so that more windows cover it (None: half a window). The record is an SQLite database
    (default: .gridcast/streams/NAME.sqlite). After each look the page NAME/live.html in the folder `reports` shows the
    last day, the events, and the state of the feed. To score one table, use `detect`. Raises ConfigError, DataError,
    TrackingError.

    >>> messages = []
    >>> gridcast.follow("plant", "feed", once=True, tell=messages.append).name
    'plant.sqlite'
    >>> messages[0]
    'plant version 1 follows feed; the record is .gridcast/streams/plant.sqlite'
    """
    from gridcast.api import live_page
    from gridcast.monitoring.stream import feed_rows, feeds, followed_model, ledger
    from gridcast.monitoring.stream.follow import alert_channels, follow_feed, parse_interval

    name = model_argument.registered_name(model, "detect")
    interval = parse_interval(every)
    channels = alert_channels(tell, webhook, alert)
    with model_argument.explain_unknown_model(str(model)):
        current_model = champion_source(name, wait)
        first = current_model()
    frequency = first.detector.frequency
    followed_model.step_length(frequency)  # raises ConfigError for a frequency that cannot be followed
    source = feeds.open_feed(str(feed), feed_rows.RowFormat.of_model(first.detector.preprocessing))
    path = record or CACHE / "streams" / re.sub(r"[^\w.-]+", "-", f"{name}.sqlite")
    with contextlib.closing(ledger.Ledger(path, name, frequency)) as stream_record:
        tell(f"{name} version {first.version} follows {source.name}; the record is {stream_record.path}")
        with contextlib.suppress(KeyboardInterrupt):  # stopped in order, not an error
            follow_feed(
                source,
                stream_record,
                current_model=current_model,
                channels=channels,
                tell=tell,
                interval=interval,
                once=once,
                after_look=live_page.page_writer(stream_record, current_model, reports / name),
            )
    return path


def champion_source(name: str, wait: int | None) -> Callable[[], Any]:
    """Return a function that returns the detector that is champion of `name` now.

    A new champion is loaded when there is one; while MLflow is unreachable the last one stays.
    """
    from gridcast.monitoring.stream import followed_model
    from gridcast.runtime import online
    from gridcast.tracking import model_loading
    from gridcast.tracking.store import require_store

    require_store()
    loaded: dict[str | None, followed_model.FollowedModel] = {}

    def current() -> followed_model.FollowedModel:
        try:
            reference = model_loading.find_model(name)
        except TrackingError:
            if loaded:
                return next(iter(loaded.values()))
            raise
        if reference.version not in loaded:
            detector = load_detector(reference).model
            loaded.clear()
            # The code of a detector of version 0.1 does not know how long it waits.
            delay = getattr(detector, "wait", online.default_wait(detector.kind, detector.lookback))
            loaded[reference.version] = followed_model.FollowedModel(
                name, reference.version or reference.uri, detector, delay if wait is None else wait
            )
        return loaded[reference.version]

    return current


def load_detector(reference: ModelReference) -> LoadedModel:
    """Return a loaded detector. Raises ConfigError if the model is a forecaster."""
    model = load_reference(reference, cache=CACHE)
    if not isinstance(model, LoadedDetector):
        raise ConfigError(
            f"{reference.name or reference.uri}: is a forecaster; name a model that was trained with task: anomaly"
        )
    return model.loaded


@dataclass(frozen=True)
class RecalibrationRequest:
    """The options of `gridcast recalibrate`: a new threshold of `model` from the file `source` of normal operation.

    `false_alarms` are ids of alerts in a stream's record; `last` limits the data to the most recent span, and with
    `only_if_drifted` nothing changes unless the scores of that span have drifted. `force` is the reason to ignore
    the gates.
    """

    model: str
    source: str
    label_column: str
    false_alarms: Sequence[str]
    last: pd.Timedelta | None
    only_if_drifted: bool
    max_false_alarms: float
    force: str | None


def recalibrate(request: RecalibrationRequest, tell: Callable[[str], None]) -> Promotion | None:
    """Recompute the threshold of the champion once; return the promotion, None where the scores have not drifted.

    Findings go to `tell`.
    """
    from gridcast.tracking import model_loading

    with keras_session(cache=CACHE):
        reference = model_loading.find_model(request.model)
        return _recalibrate(request, load_detector(reference), tell)


def _recalibrate(request: RecalibrationRequest, loaded: LoadedModel, tell: Callable[[str], None]) -> Promotion | None:
    from gridcast.data.file_bytes import shown
    from gridcast.monitoring import recalibration
    from gridcast.monitoring.new_threshold import new_threshold

    try:
        operation = _scored_operation(request, loaded.model)
        if request.only_if_drifted and not _has_drifted(request, operation, tell):
            return None
        threshold = new_threshold(loaded.model, operation, request.last)
    except Exception as error:
        if not is_data_error(error):
            raise
        named = str(error).startswith(shown(request.source))
        raise DataError(str(error) if named else f"{shown(request.source)}: {error}") from None
    tell(f"{model_title(loaded.reference)}: {threshold.summary}")
    return recalibration.recalibrate(
        loaded,
        threshold,
        source=shown(request.source),
        max_false_alarms=request.max_false_alarms,
        force=request.force,
    )


def _scored_operation(request: RecalibrationRequest, detector: Any) -> ScoredOperation:
    """Return the scores of the readings in the file or the stream's record."""
    from gridcast.data.file_bytes import shown
    from gridcast.monitoring import normal_operation

    is_anomalous: np.ndarray | None
    if normal_operation.is_stream_record(Path(request.source)):
        readings, is_anomalous = normal_operation.read_stream_record(
            Path(request.source), request.model, detector, false_alarms=request.false_alarms
        )
    elif request.false_alarms:
        raise ConfigError(
            f"--false: {shown(request.source)} is not a log of `gridcast detect`, and only that has alerts"
        )
    else:
        readings, is_anomalous = normal_operation.read_readings(request.source, detector, request.label_column)
    return normal_operation.score_readings(detector, readings, is_anomalous)


def _has_drifted(request: RecalibrationRequest, operation: ScoredOperation, tell: Callable[[str], None]) -> bool:
    """Whether the scores of the last span have drifted from the earlier ones; the finding goes to `tell`."""
    from gridcast.monitoring import normal_operation

    assert request.last is not None  # checked with the options
    shift = normal_operation.score_shift(operation, request.last)
    has_drifted = normal_operation.has_drifted(shift)
    tell(
        f"{request.model}: scores of the --last span {'have' if has_drifted else 'have not'} drifted "
        f"(PSI {shift.psi:.3g}, usually up to {shift.usual_psi:.3g})"
    )
    return has_drifted
