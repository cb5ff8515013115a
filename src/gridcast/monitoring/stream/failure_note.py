"""A note beside the record of a stream: a failed look that the record, which is locked or full, could not take."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

SIZE = 4096
"""Bytes of the note, which are there before they are needed, so that it can be written on a full disk."""
MAX_TEXT = 500


@dataclass(frozen=True)
class UnrecordedFailure:
    """A failed look of a `kind`, at a time in ISO format; the channels that its alert was `sent` by."""

    kind: str
    text: str
    at: str
    sent: tuple[str, ...] = ()


class FailureNote:
    """The note beside the record at this path. A restart does not know a failure that it could not take either."""

    def __init__(self, record: Path) -> None:
        self.path = record.with_name(f"{record.name}-failure")
        self.failure = self._read()
        if not self.path.exists():
            self.write(None)

    def write(self, failure: UnrecordedFailure | None) -> None:
        """Keep this failure, or none."""
        self.failure = failure
        content = {} if failure is None else asdict(failure) | {"text": failure.text[:MAX_TEXT]}
        with contextlib.suppress(OSError):
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, json.dumps(content).encode().ljust(SIZE)[:SIZE], 0)
                os.fsync(file)
            finally:
                os.close(file)

    def _read(self) -> UnrecordedFailure | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            if content := json.loads(self.path.read_bytes()):
                return UnrecordedFailure(**content | {"sent": tuple(content["sent"])})
        return None
