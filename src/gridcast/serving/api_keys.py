"""API keys in SQLite: of each an id and the SHA-256 of its 256 random bits, never the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcast.serving.http_errors import HttpError

PREDICT_SCOPE, ADMIN_SCOPE = "predict", "admin"
CREATE_KEYS = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL,
    created REAL NOT NULL, expires REAL NOT NULL, revoked REAL
)
"""
CACHE_SECONDS = 0.5
KEY_COLUMNS = "id, name, scopes, created, expires, revoked"


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key; times are seconds since 1970."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float
    revoked: float | None = None


class ApiKeys:
    """The keys kept in the file `path`. What was revoked is so at once, by whatever process.

    A key that was found there is remembered for `TRUSTED` seconds at most, and until somebody writes to the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # nobody else's to read
        self._file = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute(CREATE_KEYS)
        self._log, self._known = Path(f"{path}-wal"), dict[str, tuple[float, Any, ApiKey, bytes]]()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def create(self, name: str, seconds: float, scopes: Sequence[str]) -> tuple[ApiKey, str]:
        """A new key that ends in so many `seconds`, and its text, which nobody can tell again."""
        own, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        now = time.time()
        key = ApiKey(own, name, tuple(sorted(set(scopes))), now, now + seconds)
        values = (key.id, _digest(secret), key.name, " ".join(key.scopes), key.created, key.expires, None)
        self._file.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return key, f"{own}.{secret}"

    def verified(self, text: str) -> ApiKey:
        """The key whose text this is. Raises Refusal (401)."""
        own, _, secret = text.partition(".")
        key, digest = self._found(own)
        same = hmac.compare_digest(_digest(secret), digest)  # as long for an id that does not exist
        if key is None or not same:
            raise _unauthorised("key_unknown", "X-API-Key is no key of this service")
        if key.revoked is not None:
            raise _unauthorised("key_revoked", "this key was revoked; ask for a new one")
        if key.expires <= time.time():
            raise _unauthorised("key_expired", "this key has expired; ask for a new one")
        return key

    def _found(self, own: str) -> tuple[ApiKey | None, bytes]:
        """The key with the id `own`, and its digest."""
        now, written = time.monotonic(), self._written()
        if own in self._known and self._known[own][0] > now and self._known[own][1] == written:
            return self._known[own][2:]
        row = self._file.execute(f"SELECT {KEY_COLUMNS}, digest FROM keys WHERE id = ?", (own,)).fetchone()  # noqa: S608
        if row is None:
            return None, bytes(32)
        key, digest = _key(row[:-1]), row[-1]
        self._known[own] = now + CACHE_SECONDS, written, key, digest
        return key, digest

    def _written(self) -> tuple[int, int]:
        """What changes whenever somebody writes: SQLite's log grows, or is begun anew."""
        try:
            found = self._log.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def all(self) -> list[ApiKey]:
        """Every key there was, the newest first."""
        rows = self._file.execute(f"SELECT {KEY_COLUMNS} FROM keys ORDER BY created DESC, id")  # noqa: S608
        return [_key(row) for row in rows]

    def revoke(self, own: str) -> ApiKey | None:
        """The key with this id, revoked now; None where there is none, or none any more."""
        change = "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL"
        if not self._file.execute(change, (time.time(), own)).rowcount:
            return None
        row = self._file.execute(f"SELECT {KEY_COLUMNS} FROM keys WHERE id = ?", (own,)).fetchone()  # noqa: S608
        return _key(row)


def require_scope(key: ApiKey, scope: str) -> None:
    """Raise Refusal (403) unless the key has this scope."""
    if scope not in key.scopes:
        raise HttpError(403, "scope_missing", f"this key has no scope '{scope}'", "X-API-Key")


def missing_key() -> HttpError:
    """What a request without a key is told."""
    return _unauthorised("key_missing", "give an API key in the header X-API-Key; POST /generate_api_key makes one")


def _unauthorised(code: str, message: str) -> HttpError:
    return HttpError(401, code, message, "X-API-Key", {"WWW-Authenticate": "ApiKey"})


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _key(row: tuple[str, str, str, float, float, float | None]) -> ApiKey:
    own, name, scopes, created, expires, revoked = row
    return ApiKey(own, name, tuple(scopes.split()), created, expires, revoked)
