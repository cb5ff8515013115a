"""Work in threads that ends once nobody waits for its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_thread = threading.local()


class WorkCancelled(Exception):
    """Nobody waits for the result of this work any more."""


def run_cancellable(work: Callable[[], T], is_cancelled: Callable[[], bool]) -> T:
    """Return the result of `work`, in which `check_cancelled` asks `is_cancelled`."""
    _thread.is_cancelled = is_cancelled
    try:
        check_cancelled()
        return work()
    finally:
        del _thread.is_cancelled


def check_cancelled() -> None:
    """Raise WorkCancelled if the work of this thread is not needed any more; long work calls this now and then."""
    is_cancelled = getattr(_thread, "is_cancelled", None)
    if is_cancelled is not None and is_cancelled():
        raise WorkCancelled
