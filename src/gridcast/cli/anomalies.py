"""A detector in use: detect, recalibrate."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from gridcast.api import detection, detections, model_argument
from gridcast.api.detection import RecalibrationRequest
from gridcast.api.progress import format_duration
from gridcast.cli import terminal
from gridcast.cli.app import AlertAddresses, ForceReason, Model, RegisteredModel, app, out
from gridcast.cli.options import check_output_path, write_table
from gridcast.runtime.errors import ConfigError, GridcastError

EVERY_HELP = (
    "how often to look for new rows, e.g. 90s, 15m, 2h; not more often than they come, as a look that finds nothing "
    "ends the wait"
)
FEED_HELP = (
    "folder of CSV, Excel and Parquet files, a file, a pattern such as 'plant/*/pump*.csv', or a URL that answers GET "
    "URL?after=TIME with rows"
)
WAIT_HELP = "delay each verdict by this many steps so that more windows cover it (default: half a window; 0: no delay)"


@app.command("detect")
def detect_verb(
    name: Model,
    files: Annotated[list[str] | None, typer.Argument(help="tables to score: files, patterns, folders")] = None,
    follow: Annotated[str | None, typer.Option(metavar="FOLDER|FILE|URL", help=FEED_HELP)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV, Excel or Parquet file for the score of each step")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="HTML file with data, scores, events and what to look at")
    ] = None,
    every: Annotated[str, typer.Option(help=EVERY_HELP)] = "15m",
    once: Annotated[bool, typer.Option("--once", help="look once and exit")] = False,
    wait: Annotated[int | None, typer.Option(min=0, help=WAIT_HELP)] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="POST each alert to this URL as JSON")] = None,
    alert: AlertAddresses = None,
    record: Annotated[
        Path | None,
        typer.Option(help="SQLite log of scores, events and alerts (default: .gridcast/streams/NAME.sqlite)"),
    ] = None,
) -> None:
    """Find anomalies in tables, or follow a stream.

    Of FILES the events are printed; scores and a page are written where --output and --report say. With --follow each
    row is scored once, even if the command is killed and started again; each event raises one alert. The exit code is 0
    whether or not there are events, 2 where a table cannot be read or scored, and with --once 1 while a problem of the
    feed is open.
    """
    if bool(files) == (follow is not None):
        raise ConfigError("detect: name either the files to score, or a feed with --follow FOLDER|URL")
    if files:
        _score_files(name, files, wait=wait, output=output, page=report)
        return
    for option, value in (("--output", output), ("--report", report)):
        if value is not None:
            raise ConfigError(f"{option}: is for files; --follow keeps a record, and a page in the folder of reports")
    assert follow is not None
    detection.follow(
        name,
        follow,
        every=every,
        once=once,
        wait=wait,
        webhook=webhook,
        alert=alert or (),
        record=record,
        tell=print_line,
    )


def _score_files(name: str, files: list[str], *, wait: int | None, output: Path | None, page: Path | None) -> None:
    """Print what the detector finds in `files`, and write the scores and the page that are wanted."""
    check_output_path(output)
    if page is not None and (page.suffix != ".html" or not page.absolute().parent.is_dir()):
        raise ConfigError(f"--report: '{page}' must be an .html file in a folder that exists")
    found = detections.detect(name, files, wait=wait)
    for sentence in found.summary:
        out.print(sentence, markup=False)
    if len(found.events):
        terminal.print_events(out, found.events)
    if output is not None:
        write_table(found.scores, output)
        out.print(f"{output}: the score of each step", markup=False)
    if page is not None:
        out.print(f"{found.report(page)}: the page", markup=False)


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
    with model_argument.explain_unknown_model(name):
        if interval is None:
            _recalibrate_once(request)
        else:
            _recalibrate_repeatedly(request, interval)


def _recalibrate_repeatedly(request: RecalibrationRequest, interval: float) -> None:
    """Recompute the threshold every `interval` seconds until Ctrl-C, and less often while that fails."""
    from gridcast.monitoring.stream.follow import delay_after

    failures = 0
    with contextlib.suppress(KeyboardInterrupt):  # stopped in order, not an error
        while True:
            try:
                _recalibrate_once(request)
                failures = 0
            except ConfigError:  # which stays wrong however often it is tried
                raise
            except Exception as error:  # noqa: BLE001 - one net around each attempt, so that the next one comes
                reason = str(error) if isinstance(error, GridcastError) else f"{type(error).__name__}: {error}"
                failures += 1
                delay = format_duration(delay_after(interval, failures))
                out.print(f"{reason}; trying again in {delay}", markup=False)
            sys.stdout.flush()
            time.sleep(delay_after(interval, failures))


def _recalibrate_once(request: RecalibrationRequest) -> None:
    """Recompute the threshold of the champion once, and print the outcome."""
    promoted = detection.recalibrate(request, lambda line: out.print(line, markup=False))
    if promoted is not None:
        terminal.print_promotion(out, promoted)


def print_line(line: str) -> None:
    """Print a line at once, also where standard output is a file."""
    out.print(line, markup=False)
    sys.stdout.flush()
