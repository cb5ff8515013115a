"""A detector in use: detect, recalibrate."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridcast.cli import model_argument, terminal
from gridcast.cli.app import CACHE, AlertAddresses, ForceReason, RegisteredModel, app, out
from gridcast.runtime.errors import ConfigError, DataError, GridcastError, TrackingError, is_data_error

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from gridcast.monitoring.normal_operation import ScoredOperation
    from gridcast.tracking.model_loading import LoadedModel, ModelReference


EVERY_HELP = (
    "how often to look for new rows, e.g. 90s, 15m, 2h; not more often than they come, as a look that finds nothing "
    "ends the wait"
)


@app.command("detect")
def detect_verb(
    name: RegisteredModel,
    follow: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|URL", help="folder of CSV files, or URL that answers GET URL?after=TIME with rows"
        ),
    ],
    every: Annotated[str, typer.Option(help=EVERY_HELP)] = "15m",
    once: Annotated[bool, typer.Option("--once", help="look once and exit")] = False,
    wait: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="delay each verdict by this many steps so that more windows cover it (default: half a window; "
            "0: no delay)",
        ),
    ] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="POST each alert to this URL as JSON")] = None,
    alert: AlertAddresses = None,
    record: Annotated[
        Path | None,
        typer.Option(help="SQLite log of scores, events and alerts (default: .gridcast/streams/NAME.sqlite)"),
    ] = None,
) -> None:
    """Score a stream of sensor data and raise alerts.

    Each row is scored once, even if the command is killed and started again; each event raises one alert.
    """
    from gridcast.monitoring.stream import feed_rows, feeds, followed_model, ledger
    from gridcast.monitoring.stream.follow import alert_channels, follow_feed, parse_interval

    def print_line(line: str) -> None:
        out.print(line, markup=False)
        sys.stdout.flush()

    model = model_argument.registered_name(name, "detect")
    interval = parse_interval(every)
    channels = alert_channels(print_line, webhook, alert or ())
    with model_argument.explain_unknown_model(name):
        current_model = champion_source(model, wait)
        first = current_model()
    frequency = first.detector.frequency
    followed_model.step_length(frequency)  # raises ConfigError for a frequency that cannot be followed
    feed = feeds.open_feed(follow, feed_rows.RowFormat.of_model(first.detector.preprocessing))
    path = record or CACHE / "streams" / re.sub(r"[^\w.-]+", "-", f"{model}.sqlite")
    with contextlib.closing(ledger.Ledger(path, model, frequency)) as stream_record:
        print_line(f"{model} version {first.version} follows {feed.name}; the record is {stream_record.path}")
        with contextlib.suppress(KeyboardInterrupt):  # stopped in order, not an error
            follow_feed(
                feed,
                stream_record,
                current_model=current_model,
                channels=channels,
                tell=print_line,
                interval=interval,
                once=once,
            )


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


@app.command("recalibrate")
def recalibrate_verb(
    name: RegisteredModel,
    normal: Annotated[
        str,
        typer.Argument(
            help="table of normal operation (a file, a pattern of files, an address or a database), or the log of "
            "`gridcast detect`; rows labelled anomalous, and events, are left out"
        ),
    ],
    labels: Annotated[
        str, typer.Option(metavar="COLUMN", help="column that is 0 for normal rows, if the file has it")
    ] = "anomaly",
    max_false_alarms: Annotated[
        float, typer.Option(min=0, max=1, help="share of the held-out last third that may exceed the new threshold")
    ] = 0.01,
    false: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="id of a false alarm in the log; its event counts as normal; repeatable"),
    ] = None,
    last: Annotated[str | None, typer.Option(help="use only the most recent span, e.g. 7d")] = None,
    drifted: Annotated[
        bool, typer.Option("--drifted", help="only if the scores of the --last span have drifted from earlier ones")
    ] = False,
    every: Annotated[str | None, typer.Option(help="repeat at this interval, e.g. 7d")] = None,
    force: ForceReason = None,
) -> None:
    """Recompute a detector's threshold from normal data.

    The result becomes champion if it passes every gate.
    """
    import pandas as pd

    from gridcast.monitoring.stream.follow import parse_interval
    from gridcast.tracking.store import require_store
    from gridcast.training import keras_backend

    interval = None if every is None else parse_interval(every, "--every")
    request = RecalibrationRequest(
        model=model_argument.registered_name(name, "recalibrate"),
        source=normal,
        label_column=labels,
        false_alarms=false or (),
        last=None if last is None else pd.Timedelta(seconds=parse_interval(last, "--last")),
        only_if_drifted=drifted,
        max_false_alarms=max_false_alarms,
        force=force,
    )
    if drifted and last is None:
        raise ConfigError("--drifted: needs --last, the span whose scores are compared with earlier ones, e.g. 7d")
    require_store()
    keras_backend.start("jax", CACHE)
    with model_argument.explain_unknown_model(name):
        if interval is None:
            _recalibrate_once(request)
        else:
            _recalibrate_repeatedly(request, interval, f"trying again in {every}")


def _recalibrate_repeatedly(request: RecalibrationRequest, interval: float, remark: str) -> None:
    """Recompute the threshold every `interval` seconds until Ctrl-C; after a failure print it with the `remark`."""
    with contextlib.suppress(KeyboardInterrupt):  # stopped in order, not an error
        while True:
            try:
                _recalibrate_once(request)
            except GridcastError as error:
                if isinstance(error, ConfigError):  # which stays wrong however often it is tried
                    raise
                out.print(f"{error}; {remark}", markup=False)
            sys.stdout.flush()
            time.sleep(interval)


def _recalibrate_once(request: RecalibrationRequest) -> None:
    """Recompute the threshold of the champion once, and print the outcome."""
    from gridcast.data.file_bytes import shown
    from gridcast.monitoring import recalibration
    from gridcast.runtime.detector import MINIMUM
    from gridcast.tracking import model_loading

    reference = model_loading.find_model(request.model)
    loaded = load_detector(reference)
    if getattr(loaded.model, "combine", None) == MINIMUM:  # detectors of version 0.1.0 may lack the attribute
        raise ConfigError(
            f"{request.model}: is the minimum of an ensemble and uses the thresholds of its members, so it has none to "
            "recompute; train it again on newer data, or with selection.ensemble.combine: mean"
        )
    try:
        operation = _scored_operation(request, loaded.model)
        if request.only_if_drifted and not _has_drifted(request, operation):
            return
        threshold = recalibration.new_threshold(loaded.model, operation, request.last)
    except Exception as error:
        if not is_data_error(error):
            raise
        named = str(error).startswith(shown(request.source))
        raise DataError(str(error) if named else f"{shown(request.source)}: {error}") from None
    out.print(f"{terminal.model_title(reference)}: {threshold.summary}", markup=False)
    promoted = recalibration.recalibrate(
        loaded,
        threshold,
        source=shown(request.source),
        max_false_alarms=request.max_false_alarms,
        force=request.force,
    )
    terminal.print_promotion(out, promoted)


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


def _has_drifted(request: RecalibrationRequest, operation: ScoredOperation) -> bool:
    """Whether the scores of the last span have drifted from the earlier ones; prints the finding."""
    from gridcast.monitoring import normal_operation

    assert request.last is not None  # checked with the options
    shift = normal_operation.score_shift(operation, request.last)
    has_drifted = normal_operation.has_drifted(shift)
    out.print(
        f"{request.model}: scores of the --last span {'have' if has_drifted else 'have not'} drifted "
        f"(PSI {shift.psi:.3g}, usually up to {shift.usual_psi:.3g})",
        markup=False,
    )
    return has_drifted


def champion_source(name: str, wait: int | None) -> Callable[[], Any]:
    """Return a function that returns the detector that is champion of `name` now.

    A new champion is loaded when there is one; while MLflow is unreachable the last one stays.
    """
    from gridcast.monitoring.stream import followed_model
    from gridcast.runtime import online
    from gridcast.tracking import model_loading
    from gridcast.tracking.store import require_store
    from gridcast.training import keras_backend

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
            keras_backend.start("jax", CACHE)
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
    from gridcast.runtime.loading import kind_of
    from gridcast.tracking import model_loading

    loaded = model_loading.load_model(reference.uri)
    if kind_of(loaded.model) != "detector":
        raise ConfigError(
            f"{reference.name or reference.uri}: is a forecaster; name a model that was trained with task: anomaly"
        )
    return loaded
