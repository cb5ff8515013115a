"""API keys in SQLite: an id and the SHA-256 digest of 256 random bits each, never the key itself."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
FRESH_SECONDS = 0.05
"""Age of a file before its stamp is trusted: two writes within a tick of the file system have the same."""
WRITE_SECONDS = 2.0
"""Seconds that a write waits while another program has locked the database."""
READ_ATTEMPTS, ATTEMPT_SECONDS = 5, 0.05
Stamp = tuple[int, ...]
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
    stamp: Stamp
    key: ApiKey
    digest: bytes


class ApiKeys:
    """The keys in the SQLite file at `path`.

    A revocation takes effect at once, even by another process: keys are cached for `CACHE_SECONDS` at most, and only
    until somebody writes to the file, or puts another one in its place. `verify` never waits for a lock: it raises
    sqlite3.Error. The other methods wait, and are to be called in a thread.
    """

    def __init__(self, path: Path) -> None:
        make_private(path)
        self._path, self._write_ahead_log = path, Path(f"{path}-wal")
        self._cache: dict[str, CachedKey] = {}
        with self._connect(5) as database:
            with contextlib.suppress(sqlite3.OperationalError):  # in use by another service; either mode will do
                # A write-ahead log, as former versions had it, would survive the file that it belongs to.
                database.execute("PRAGMA journal_mode=DELETE")
            database.execute(CREATE_KEYS)
        self._lock, self._is_closed = threading.Lock(), False
        self._reader: sqlite3.Connection | None = None
        self._reader_file: Stamp = ()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._is_closed = True
            self._close_reader()

    @contextlib.contextmanager
    def _connect(self, seconds: float) -> Iterator[sqlite3.Connection]:
        """A connection for one statement or two: to the file that is there now."""
        database = self._open(seconds)
        try:
            yield database
        finally:
            database.close()
            self._cache.clear()

    def _open(self, seconds: float) -> sqlite3.Connection:
        # Without `rw` a database that was removed would be created again, empty.
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(uri, timeout=seconds, isolation_level=None, check_same_thread=False, uri=True)

    def create(self, name: str, seconds: float, scopes: Sequence[str]) -> tuple[ApiKey, str]:
        """Create a key that expires in `seconds`; return it and its text, which cannot be recovered later."""
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        now = time.time()
        key = ApiKey(key_id, name, tuple(sorted(set(scopes))), created=now, expires=now + seconds)
        values = (key.id, _digest(secret), key.name, " ".join(key.scopes), key.created, key.expires, None)
        with self._connect(WRITE_SECONDS) as database:
            database.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return key, f"{key_id}.{secret}"

    async def verify_soon(self, text: str) -> ApiKey:
        """Return the key as `verify` does; try again for a moment while the database is locked."""
        for _ in range(READ_ATTEMPTS - 1):
            try:
                return self.verify(text)
            except sqlite3.OperationalError:
                await asyncio.sleep(ATTEMPT_SECONDS)
        return self.verify(text)

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
        with self._lock:
            row = self._read_connection(stamp[:2]).execute(query, (key_id,)).fetchone()
        if row is None:
            return None, bytes(32)
        key, digest = _from_row(row[:-1]), row[-1]
        if time.time() - max(stamp[2], stamp[4]) / 1e9 > FRESH_SECONDS:
            self._cache[key_id] = CachedKey(expires=now + CACHE_SECONDS, stamp=stamp, key=key, digest=digest)
        return key, digest

    def _read_connection(self, file: Stamp) -> sqlite3.Connection:
        """The connection that reads keys, to the `file` with this device and number."""
        if self._is_closed:
            raise sqlite3.ProgrammingError("the key database is closed")
        if self._reader is None or self._reader_file != file:
            self._close_reader()
            self._reader, self._reader_file = self._open(0), file
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _file_stamp(self) -> Stamp:
        """Device, number, time and size of the database, time and size of its write-ahead log, if it has one."""
        try:
            file = self._path.stat()
        except OSError as error:
            raise sqlite3.OperationalError(f"the key database cannot be read: {error}") from None
        try:
            log = self._write_ahead_log.stat()
        except OSError:
            return file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size, 0, 0
        return file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size, log.st_mtime_ns, log.st_size

    def are_readable(self) -> bool:
        """Return whether the database can be read."""
        try:
            with self._connect(ATTEMPT_SECONDS) as database:
                database.execute("SELECT 1 FROM keys LIMIT 1").fetchone()
        except sqlite3.Error:
            return False
        return True

    def all(self) -> list[ApiKey]:
        """Return all keys, including revoked and expired ones, the newest first."""
        with self._connect(WRITE_SECONDS) as database:
            rows = database.execute(f"SELECT {KEY_COLUMNS} FROM keys ORDER BY created DESC, id")  # noqa: S608
            return [_from_row(row) for row in rows]

    def revoke(self, key_id: str) -> ApiKey | None:
        """Revoke the key with this id and return it; return None if there is none, or it was revoked before."""
        update = "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL"
        query = f"SELECT {KEY_COLUMNS} FROM keys WHERE id = ?"  # noqa: S608
        with self._connect(WRITE_SECONDS) as database:
            if not database.execute(update, (time.time(), key_id)).rowcount:
                return None
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


def require_admin_token(given: bytes | None, token: str | None) -> None:
    """Raise HttpError unless `given`, of a request for a new key, is the admin `token`; None for an open service."""
    if token is None:
        raise HttpError(403, "open", "this service is open: it needs no keys and creates none")
    if given is None:
        text = "give the admin token in the header X-Admin-Token"
        raise HttpError(401, "token_missing", text, where="X-Admin-Token")
    if not hmac.compare_digest(given, token.encode()):
        raise HttpError(401, "token_wrong", "X-Admin-Token is not the admin token", where="X-Admin-Token")


def unavailable() -> HttpError:
    """Return the error for a request while the key database cannot be read (503)."""
    message = "the key database does not respond; try again in a moment"
    return HttpError(503, "keys_unavailable", message, headers={"Retry-After": "1"})


def missing_key() -> HttpError:
    """Return the error for a request without a key (401)."""
    text = "give an API key in the header X-API-Key, or as Authorization: Bearer; POST /generate_api_key creates one"
    return _unauthorised("key_missing", text)


def _unauthorised(code: str, message: str) -> HttpError:
    return HttpError(401, code, message, where="X-API-Key", headers={"WWW-Authenticate": "ApiKey"})


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _from_row(row: KeyRow) -> ApiKey:
    key_id, name, scopes, created, expires, revoked = row
    return ApiKey(key_id, name, tuple(scopes.split()), created=created, expires=expires, revoked=revoked)
