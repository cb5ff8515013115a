"""API keys in SQLite: an id and the SHA-256 digest of 256 random bits each, never the key itself."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gridcast.monitoring.private_file import make_private
from gridcast.serving.http_errors import HttpError

PREDICT_SCOPE, ADMIN_SCOPE = "predict", "admin"
CREATE_KEYS = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL,
    created REAL NOT NULL, expires REAL NOT NULL, revoked REAL
)
"""
CACHE_SECONDS = 0.5
LOCK_TIMEOUT, READ_TIMEOUT = 5.0, 0.05
"""Seconds to wait while another process has locked the file."""
KEY_COLUMNS = "id, name, scopes, created, expires, revoked"
KeyRow = tuple[str, str, str, float, float, float | None]


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret; times are seconds since 1970."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float
    revoked: float | None = None


class CachedKey(NamedTuple):
    """A key with its digest, valid until `expires` (monotonic) while the database file has this `stamp`."""

    expires: float
    stamp: tuple[int, ...]
    key: ApiKey
    digest: bytes


class ApiKeys:
    """The keys in the SQLite file at `path`.

    A revocation takes effect at once, even by another process: keys are cached for `CACHE_SECONDS` at most, and only
    until somebody writes to the file or puts another in its place. While the file is locked or missing, methods raise
    sqlite3.Error. Only `verify` belongs to the event loop; the others may wait `LOCK_TIMEOUT` seconds, in a thread.
    """

    def __init__(self, path: Path) -> None:
        make_private(path)
        self._path, self._write_ahead_log = path.absolute(), Path(f"{path}-wal")
        with contextlib.closing(self._connect(LOCK_TIMEOUT)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(CREATE_KEYS)
        self._cache: dict[str, CachedKey] = {}
        self._database, self._inode = self._connect(READ_TIMEOUT), path.stat().st_ino

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def create(self, name: str, seconds: float, scopes: Sequence[str]) -> tuple[ApiKey, str]:
        """Create a key that expires in `seconds`; return it and its text, which cannot be recovered later."""
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        now = time.time()
        key = ApiKey(key_id, name, tuple(sorted(set(scopes))), created=now, expires=now + seconds)
        values = (key.id, _digest(secret), key.name, " ".join(key.scopes), key.created, key.expires, None)
        self._write("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return key, f"{key_id}.{secret}"

    def verify(self, text: str) -> ApiKey:
        """Return the key with this text. Raises HttpError (401) for one that is unknown, revoked or expired."""
        key_id, _, secret = text.partition(".")
        key, digest = self._find(key_id)
        # An id that does not exist is compared too, so that the time taken does not reveal which ids exist.
        is_same = hmac.compare_digest(_digest(secret), digest)
        if key is None or not is_same:
            raise _unauthorised("key_unknown", "X-API-Key is not a key of this service")
        if key.revoked is not None:
            raise _unauthorised("key_revoked", "this key was revoked; ask for a new one")
        if key.expires <= time.time():
            raise _unauthorised("key_expired", "this key has expired; ask for a new one")
        return key

    def _find(self, key_id: str) -> tuple[ApiKey | None, bytes]:
        """The key with this id and its digest; None and an empty digest if there is none."""
        now, stamp = time.monotonic(), self._file_stamp()
        cached = self._cache.get(key_id)
        if cached is not None and cached.expires > now and cached.stamp == stamp:
            return cached.key, cached.digest
        query = f"SELECT {KEY_COLUMNS}, digest FROM keys WHERE id = ?"  # noqa: S608
        row = self._reader().execute(query, (key_id,)).fetchone()
        if row is None:
            return None, bytes(32)
        key, digest = _from_row(row[:-1]), row[-1]
        self._cache[key_id] = CachedKey(expires=now + CACHE_SECONDS, stamp=stamp, key=key, digest=digest)
        return key, digest

    def _connect(self, timeout: float) -> sqlite3.Connection:
        """A connection to the file, which must exist, with some seconds of patience while it is locked."""
        uri = f"{self._path.as_uri()}?mode=rw"
        return sqlite3.connect(uri, timeout=timeout, uri=True, isolation_level=None, check_same_thread=False)

    def _reader(self) -> sqlite3.Connection:
        """The connection for reading: to the file that is there now, not to one that it has replaced."""
        try:
            inode = self._path.stat().st_ino
        except OSError:
            raise sqlite3.OperationalError("the key database is missing") from None
        if inode != self._inode:
            replaced = self._connect(READ_TIMEOUT)
            self._database.close()
            self._database, self._inode = replaced, inode
        return self._database

    def _write(self, statement: str, values: Sequence[Any]) -> int:
        """Execute a statement and return how many rows it changed."""
        with contextlib.closing(self._connect(LOCK_TIMEOUT)) as database:
            changed = database.execute(statement, values).rowcount
            # An empty log does no harm to a backup that is put in the place of the file.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return changed

    def _file_stamp(self) -> tuple[int, ...]:
        """Time, size and identity of the files: each write to the log changes one of them."""
        stamp: list[int] = []
        for file in (self._path, self._write_ahead_log):
            with contextlib.suppress(OSError):
                status = file.stat()
                stamp += (status.st_mtime_ns, status.st_size, status.st_ino)
        return tuple(stamp)

    def are_readable(self) -> bool:
        """Return whether the database answers soon; any thread may ask."""
        try:
            with contextlib.closing(self._connect(READ_TIMEOUT)) as database:
                database.execute("SELECT 1 FROM keys LIMIT 1").fetchone()
        except sqlite3.Error:
            return False
        return True

    def all(self) -> list[ApiKey]:
        """Return all keys, including revoked and expired ones, the newest first."""
        with contextlib.closing(self._connect(LOCK_TIMEOUT)) as database:
            rows = database.execute(f"SELECT {KEY_COLUMNS} FROM keys ORDER BY created DESC, id")  # noqa: S608
            return [_from_row(row) for row in rows]

    def revoke(self, key_id: str) -> ApiKey | None:
        """Revoke the key with this id and return it; return None if there is none, or it was revoked before."""
        update = "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL"
        if not self._write(update, (time.time(), key_id)):
            return None
        query = f"SELECT {KEY_COLUMNS} FROM keys WHERE id = ?"  # noqa: S608
        with contextlib.closing(self._connect(LOCK_TIMEOUT)) as database:
            return _from_row(database.execute(query, (key_id,)).fetchone())


def key_text(headers: Mapping[bytes, bytes]) -> str:
    """Return the key in `X-API-Key`, else the one in `Authorization: Bearer`; empty if there is none."""
    if text := headers.get(b"x-api-key"):
        return text.decode("latin-1")
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def require_scope(key: ApiKey, scope: str) -> None:
    """Raise HttpError (403) unless the key has this scope."""
    if scope not in key.scopes:
        raise HttpError(403, "scope_missing", f"this key does not have the scope '{scope}'", where="X-API-Key")


def missing_key() -> HttpError:
    """Return the error for a request without a key (401)."""
    text = "give an API key in the header X-API-Key, or as Authorization: Bearer; POST /generate_api_key creates one"
    return _unauthorised("key_missing", text)


def keys_unavailable() -> HttpError:
    """Return the error for a key database that is locked or missing (503)."""
    text = "the key database does not respond; try again in a moment"
    return HttpError(503, "keys_unavailable", text, headers={"Retry-After": "1"})


def _unauthorised(code: str, message: str) -> HttpError:
    return HttpError(401, code, message, where="X-API-Key", headers={"WWW-Authenticate": "ApiKey"})


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _from_row(row: KeyRow) -> ApiKey:
    key_id, name, scopes, created, expires, revoked = row
    return ApiKey(key_id, name, tuple(scopes.split()), created=created, expires=expires, revoked=revoked)
