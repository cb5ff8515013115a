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

from gridcast.serving.refusals import Refusal

PREDICT, ADMIN = "predict", "admin"
TABLE = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL,
    created REAL NOT NULL, expires REAL NOT NULL, revoked REAL
)
"""
FIELDS = "id, name, scopes, created, expires, revoked"


@dataclass(frozen=True)
class Key:
    """What is known of a key; times are seconds since 1970."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float
    revoked: float | None = None


class Keys:
    """The keys kept in the file `path`. Each question is asked of the file: what was revoked is so at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # nobody else's to read
        self._file = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute(TABLE)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def create(self, name: str, seconds: float, scopes: Sequence[str]) -> tuple[Key, str]:
        """A new key that ends in so many `seconds`, and its text, which nobody can tell again."""
        own, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        now = time.time()
        key = Key(own, name, tuple(sorted(set(scopes))), now, now + seconds)
        values = (key.id, _digest(secret), key.name, " ".join(key.scopes), key.created, key.expires, None)
        self._file.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return key, f"{own}.{secret}"

    def verified(self, text: str) -> Key:
        """The key whose text this is. Raises Refusal (401)."""
        own, _, secret = text.partition(".")
        row = self._file.execute(f"SELECT {FIELDS}, digest FROM keys WHERE id = ?", (own,)).fetchone()  # noqa: S608
        # As long for an id that does not exist.
        same = hmac.compare_digest(_digest(secret), row[-1] if row else bytes(32))
        if row is None or not same:
            raise _unauthorised("key_unknown", "X-API-Key is no key of this service")
        key = _key(row[:-1])
        if key.revoked is not None:
            raise _unauthorised("key_revoked", "this key was revoked; ask for a new one")
        if key.expires <= time.time():
            raise _unauthorised("key_expired", "this key has expired; ask for a new one")
        return key

    def all(self) -> list[Key]:
        """Every key there was, the newest first."""
        rows = self._file.execute(f"SELECT {FIELDS} FROM keys ORDER BY created DESC, id")  # noqa: S608
        return [_key(row) for row in rows]

    def revoke(self, own: str) -> Key | None:
        """The key with this id, revoked now; None where there is none, or none any more."""
        change = "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL"
        if not self._file.execute(change, (time.time(), own)).rowcount:
            return None
        row = self._file.execute(f"SELECT {FIELDS} FROM keys WHERE id = ?", (own,)).fetchone()  # noqa: S608
        return _key(row)


def in_scope(key: Key, scope: str) -> None:
    """Raise Refusal (403) unless the key has this scope."""
    if scope not in key.scopes:
        raise Refusal(403, "scope_missing", f"this key has no scope '{scope}'", "X-API-Key")


def missing() -> Refusal:
    """What a request without a key is told."""
    return _unauthorised("key_missing", "give an API key in the header X-API-Key; POST /generate_api_key makes one")


def _unauthorised(code: str, message: str) -> Refusal:
    return Refusal(401, code, message, "X-API-Key", {"WWW-Authenticate": "ApiKey"})


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _key(row: tuple[str, str, str, float, float, float | None]) -> Key:
    own, name, scopes, created, expires, revoked = row
    return Key(own, name, tuple(scopes.split()), created, expires, revoked)
