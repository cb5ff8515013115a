"""The entry point of the `gridcast` command: signals, warnings, errors and exit codes."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
from typing import Any, NoReturn

import psutil
import typer

from gridcast.cli.app import app, err
from gridcast.runtime.errors import GridcastError, Interrupted, suggest

_RESUME = "then run the same command again to continue"
WRITE_REMEDIES = {
    errno.ENOSPC: f"free some space, {_RESUME}",
    errno.EDQUOT: f"free some space, {_RESUME}",
    errno.EROFS: f"make it writable, {_RESUME}",
    errno.EACCES: f"make it writable, {_RESUME}",
    errno.EPERM: f"make it writable, {_RESUME}",
}
"""The remedy for an operating system error that keeps a sweep from writing."""
INTERRUPTED = Interrupted.exit_code


def main() -> NoReturn:
    """Run the `gridcast` command and exit with 0, 1, 2 or 130 (see the README)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    _replace_what_cannot_be_printed()
    logging.getLogger("gridcast").addHandler(_WarningPrinter())
    try:
        if app(standalone_mode=False, prog_name="gridcast") == INTERRUPTED:  # what typer makes of KeyboardInterrupt
            raise Interrupted("interrupted")
    except (KeyboardInterrupt, Interrupted, typer.Abort) as error:
        err.print(str(error) or "interrupted", markup=False)
        _exit_at_once()
    except GridcastError as error:
        err.print(f"error: {error}", markup=False)
        sys.exit(error.exit_code)
    except OSError as error:
        remedy = WRITE_REMEDIES.get(error.errno or 0, f"see that it is there and no other kind of file, {_RESUME}")
        err.print(f"error: {error.filename or 'a file'}: {error.strerror or error}; {remedy}", markup=False)
        sys.exit(1)
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
            err.print(f"error: {_usage_message(error)}", markup=False)
            sys.exit(2)
        raise
    sys.exit(0)


def _replace_what_cannot_be_printed() -> None:
    """Print `?` for characters that the terminal's encoding lacks, such as ö in ASCII: no output ends a sweep."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _usage_message(error: Any) -> str:
    """Return the message of a wrong command line: a near miss where there is one, and where the help is."""
    message = str(error.format_message())
    if getattr(error, "possibilities", None):
        message = f"No such option: {error.option_name}{suggest(error.option_name, error.possibilities)}"
    context = getattr(error, "ctx", None)
    return f"{message}\nSee `{context.command_path} -h`." if context else message


def _interrupt(*_: object) -> NoReturn:
    """Let the first Ctrl-C stop the sweep in order; the second one ends this process and its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_at_once)
    raise KeyboardInterrupt


def _exit_at_once(*_: object) -> NoReturn:
    """End this process and its workers without closing anything: all that counts is on disk already."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    sys.stdout.flush()
    os._exit(INTERRUPTED)


class _WarningPrinter(logging.Handler):
    """Prints gridcast's warnings above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(f"  {record.levelname.lower()}: {record.getMessage()}", markup=False, style="yellow")
