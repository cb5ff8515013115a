"""A detector in use: detect, recalibrate."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridcast.cli import terminal
from gridcast.cli.app import CACHE, app, out
from gridcast.cli.experiments import registered_name
from gridcast.runtime.errors import ConfigError, DataError, GridcastError, TrackingError

if TYPE_CHECKING:
    import pandas as pd

    from gridcast.tracking.model_loading import LoadedModel, ModelReference


@app.command()
def detect(
    name: Annotated[str, typer.Argument(help="a registered model (its champion), or its experiment, a YAML file")],
    follow: Annotated[
        str, typer.Option(metavar="FOLDER|URL", help="where CSV files appear, or what answers GET URL?after=STAMP")
    ],
    every: Annotated[str, typer.Option(help="how often to look for what is new, such as 90s, 15m, 2h")] = "15m",
    once: Annotated[bool, typer.Option("--once", help="look once, and end")] = False,
    wait: Annotated[
        int | None,
        typer.Option(
            min=0, help="steps that a verdict waits for, to rest on more windows (default: half a window; 0: at once)"
        ),
    ] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="POST each alert there, as JSON")] = None,
    alert: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="whom to tell of each alert, as apprise writes it; repeatable"),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="SQLite file for scores, events, alerts (default: .gridcast/streams/NAME.sqlite)"),
    ] = None,
) -> None:
    """Follow a stream of sensor data: score each new stretch once, whatever is killed, and raise an alert per event."""
    from gridcast.monitoring.stream import feeds, followed_model, ledger
    from gridcast.monitoring.stream.follow import alert_channels, follow_feed, parse_interval

    def tell(line: str) -> None:
        out.print(line, markup=False)
        sys.stdout.flush()

    registered, seconds = registered_name(name), parse_interval(every)
    channels = alert_channels(tell, webhook, alert or ())
    current = champion_source(registered, wait)
    detector = current().detector
    followed_model.step_length(detector.frequency)
    kept = ledger.Ledger(
        record or CACHE / "streams" / re.sub(r"[^\w.-]+", "-", f"{registered}.sqlite"), registered, detector.frequency
    )
    feed = feeds.open_feed(follow, detector.time)
    tell(f"{registered} version {current().version} follows {feed.name}; the record is {kept.path}")
    with contextlib.closing(kept), contextlib.suppress(KeyboardInterrupt):  # stopped in order: nothing is wrong
        follow_feed(
            feed, kept, current_model=current, channels=channels, tell=tell, interval=seconds, once=once
        )


@app.command()
def recalibrate(
    name: Annotated[str, typer.Argument(help="a registered model (its champion), or its experiment, a YAML file")],
    normal: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet file of normal operation, or the record of `detect`: rows labelled anomalous, and "
            "events, are left out"
        ),
    ],
    labels: Annotated[str, typer.Option(metavar="COLUMN", help="column of 0 and 1, if the file has it")] = "anomaly",
    max_false_alarms: Annotated[
        float, typer.Option(min=0, max=1, help="share of the last third that may lie above the new threshold")
    ] = 0.01,
    false: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="an alert in the record that was false: its event is normal; repeatable"),
    ] = None,
    last: Annotated[str | None, typer.Option(help="take the newest such span alone, such as 7d")] = None,
    drifted: Annotated[
        bool, typer.Option("--drifted", help="only where the scores of the --last span have drifted from those before")
    ] = False,
    every: Annotated[str | None, typer.Option(help="do it again and again, such as 7d")] = None,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="take the threshold whatever the gates say; the reason is kept")
    ] = None,
) -> None:
    """Take a champion's threshold anew from normal data, and make the result champion if every gate lets it pass."""
    import pandas as pd

    from gridcast.monitoring.stream.follow import parse_interval
    from gridcast.training import keras_backend

    registered, pause = registered_name(name), None if every is None else parse_interval(every, "--every")
    span = None if last is None else pd.Timedelta(seconds=parse_interval(last, "--last"))
    if drifted and span is None:
        raise ConfigError("--drifted: needs --last, the span whose scores are compared with those before, such as 7d")
    keras_backend.start("jax", CACHE)

    def once() -> None:
        _recalibrated(registered, normal, labels, false or (), span, max_false_alarms, force, drifted=drifted)

    if pause is None:
        return once()
    with contextlib.suppress(KeyboardInterrupt):  # stopped in order: nothing is wrong
        while True:
            try:
                once()
            except GridcastError as error:
                if isinstance(error, ConfigError):  # which no time mends
                    raise
                out.print(f"{error}; tried again in {every}", markup=False)
            sys.stdout.flush()
            time.sleep(pause)


def _recalibrated(
    name: str,
    normal: Path,
    labels: str,
    false: Sequence[str],
    last: pd.Timedelta | None,
    most: float,
    force: str | None,
    *,
    drifted: bool,
) -> None:
    """What `recalibrate` does each time."""
    from gridcast.monitoring import normal_operation, recalibration
    from gridcast.runtime.detector import MINIMUM
    from gridcast.tracking import model_loading

    found = model_loading.find_model(name)
    loaded = load_detector(found)
    detector, record = loaded.forecaster, normal_operation.is_stream_record(normal)
    if getattr(detector, "combine", None) == MINIMUM:  # models of older gridcasts know nothing of it
        raise ConfigError(
            f"{name}: is the minimum of an ensemble, which goes by the thresholds of its members and has none that "
            "could be taken anew; train it again on newer data, or with selection.ensemble.combine: mean"
        )
    if false and not record:
        raise ConfigError(f"--false: {normal} is no record of `gridcast detect`, which alone knows alerts")
    table, known = (
        normal_operation.read_stream_record(normal, name, detector, false_alarms=false)
        if record
        else normal_operation.read_readings(normal, detector, labels)
    )
    try:
        said = normal_operation.score_readings(detector, table, known)
        if drifted and last is not None:
            shift = normal_operation.score_shift(said, last)
            moved = normal_operation.has_drifted(shift)
            out.print(
                f"{name}: scores of the --last span {'have' if moved else 'have not'} drifted (PSI {shift.psi:.3g}, "
                f"usually up to {shift.usual_psi:.3g})",
                markup=False,
            )
            if not moved:
                return
        threshold = recalibration.new_threshold(detector, said, last)
    except Exception as error:
        if getattr(error, "exit_code", None) != DataError.exit_code:  # the carried code has classes of its own
            raise
        raise DataError(f"{normal}: {error}") from None
    out.print(f"{found.name} version {found.version}: {threshold.summary}", markup=False)
    terminal.print_promotion(out, recalibration.recalibrate(loaded, threshold, source=normal, max_false_alarms=most, force=force))


def champion_source(name: str, wait: int | None) -> Callable[[], Any]:
    """What gives the detector that is champion of `name` whenever it is asked, loaded anew where it is another one."""
    from gridcast.monitoring.stream import followed_model
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    held: dict[str | None, followed_model.FollowedModel] = {}

    def current() -> followed_model.FollowedModel:
        try:
            found = model_loading.find_model(name)
        except TrackingError:
            if held:  # MLflow is away: the version that is here goes on
                return next(iter(held.values()))
            raise
        if found.version not in held:
            keras_backend.start("jax", CACHE)
            detector = load_detector(found).forecaster
            held.clear()
            half = 0 if detector.kind == "prediction" else detector.lookback // 2  # an error ahead does not change
            held[found.version] = followed_model.FollowedModel(
                name, found.version or found.uri, detector, half if wait is None else wait
            )
        return held[found.version]

    return current


def load_detector(found: ModelReference) -> LoadedModel:
    """The detector that was found. Raises ConfigError where it is a forecaster."""
    from gridcast.tracking import model_loading

    loaded = model_loading.load_model(found.uri)
    if not hasattr(loaded.forecaster, "threshold"):
        raise ConfigError(f"{found.name or found.uri} forecasts; name a model that was trained with task: anomaly")
    return loaded
