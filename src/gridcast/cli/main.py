"""How the command begins and ends: signals, warnings, errors and exit codes."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
from typing import NoReturn

import psutil
import typer

from gridcast.cli.app import app, err
from gridcast.runtime.errors import GridcastError, Interrupted

_GO_ON = "then the same command goes on where it stopped"
WRITE_REMEDIES = {
    errno.ENOSPC: f"free some space, {_GO_ON}",
    errno.EDQUOT: f"free some space, {_GO_ON}",
    errno.EROFS: f"make it writable, {_GO_ON}",
    errno.EACCES: f"make it writable, {_GO_ON}",
    errno.EPERM: f"make it writable, {_GO_ON}",
}


def main() -> NoReturn:
    """Entry point of the `gridcast` command; ends with 0, 1, 2 or 130 (see the README)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    logging.getLogger("gridcast").addHandler(_Warnings())
    try:
        if app(standalone_mode=False) == 130:  # what typer makes of KeyboardInterrupt
            raise Interrupted("interrupted")
    except (KeyboardInterrupt, Interrupted, typer.Abort) as error:
        err.print(str(error) or "interrupted", markup=False)
        _leave()
    except GridcastError as error:
        err.print(f"error: {error}", markup=False)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in WRITE_REMEDIES:
            raise
        err.print(
            f"error: {error.filename or 'writing'}: {error.strerror}; {WRITE_REMEDIES[error.errno]}", markup=False
        )
        sys.exit(1)
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
            err.print(f"error: {error.format_message()}", markup=False)
            sys.exit(2)
        raise
    sys.exit(0)


def _interrupt(*_: object) -> NoReturn:
    """The first Ctrl-C lets the sweep stop in order, the second one ends the process and so its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    raise KeyboardInterrupt


def _leave(*_: object) -> NoReturn:
    """End this process and its workers at once, with nothing closed: all that counts is on disk already."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    sys.stdout.flush()
    os._exit(130)


class _Warnings(logging.Handler):
    """Shows what gridcast warns of above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(f"  {record.levelname.lower()}: {record.getMessage()}", markup=False, style="yellow")
