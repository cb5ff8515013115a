"""API keys in a real file."""

import asyncio
import hashlib
import sqlite3
import stat
import time

import pytest

from gridcast.serving.api_keys import ApiKeys, require_scope
from gridcast.serving.http_errors import HttpError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made" / "keys.db"


@pytest.fixture
def keys(path):
    opened = ApiKeys(path)
    yield opened
    opened.close()


def refused(keys, text):
    with pytest.raises(HttpError) as caught:
        keys.verify(text)
    return caught.value


def test_a_key_has_256_random_bits_and_opens(keys):
    key, text = keys.create("dashboard", 60, ["predict"])
    own, _, secret = text.partition(".")
    assert own == key.id
    assert len(secret) == 43  # 32 bytes, six bits a letter
    assert keys.verify(text) == key
    assert text not in {keys.create("dashboard", 60, ["predict"])[1] for _ in range(50)}


def test_only_its_digest_lies_in_the_file(keys, path):
    _, text = keys.create("dashboard", 60, ["predict"])
    keys.close()
    secret = text.partition(".")[2]
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert secret.encode() not in held
    assert hashlib.sha256(secret.encode()).digest() in held


def test_nobody_else_may_read_the_file(keys, path):
    keys.create("dashboard", 60, ["predict"])
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_key_works_after_a_restart_and_a_revoked_one_does_not(keys, path):
    kept, text = keys.create("kept", 60, ["predict"])
    gone, other = keys.create("gone", 60, ["predict"])
    keys.revoke(gone.id)
    keys.close()
    again = ApiKeys(path)
    assert again.verify(text) == kept
    assert refused(again, other).code == "key_revoked"
    again.close()


def test_what_another_process_revokes_is_revoked_here_at_once(keys, path):
    key, text = keys.create("shared", 60, ["predict"])
    assert keys.verify(text)
    other = ApiKeys(path)
    other.revoke(key.id)
    other.close()
    assert refused(keys, text).code == "key_revoked"


def test_an_expired_key_opens_nothing(keys):
    key, text = keys.create("short", 0.05, ["predict"])
    assert keys.verify(text) == key
    time.sleep(0.06)
    assert refused(keys, text).code == "key_expired"


@pytest.mark.parametrize("text", ["", ".", "x", "x.y", "é.ü", "\0", "a" * 10_000, "' OR 1=1 --", "\ud800.x"])
def test_what_is_no_key_is_refused(keys, text):
    keys.create("dashboard", 60, ["predict"])
    text = text.encode("utf-8", "replace").decode()
    error = refused(keys, text)
    assert (error.status, error.code) == (401, "key_unknown")


def test_the_id_of_one_key_and_the_secret_of_another_open_nothing(keys):
    one, other = (keys.create(name, 60, ["predict"])[1] for name in ("one", "other"))
    mixed = f"{one.partition('.')[0]}.{other.partition('.')[2]}"
    assert refused(keys, mixed).code == "key_unknown"
    assert refused(keys, one[:-1]).code == "key_unknown"
    assert refused(keys, f"{one}x").code == "key_unknown"


def test_only_the_holder_of_a_key_learns_that_it_is_revoked_or_expired(keys):
    key, text = keys.create("gone", 60, ["predict"])
    keys.revoke(key.id)
    assert refused(keys, f"{key.id}.guessed").code == "key_unknown"
    assert refused(keys, text).code == "key_revoked"


def test_a_key_opens_what_its_scopes_say(keys):
    key, _ = keys.create("reader", 60, ["predict", "predict"])
    assert key.scopes == ("predict",)
    require_scope(key, "predict")
    with pytest.raises(HttpError) as caught:
        require_scope(key, "admin")
    assert (caught.value.status, caught.value.code) == (403, "scope_missing")


def test_the_list_has_no_secrets_and_the_newest_first(keys):
    made = [keys.create(name, 60, ["predict"]) for name in ("first", "second")]
    listed = keys.all()
    assert [key.name for key in listed] == ["second", "first"]
    assert not any(text.partition(".")[2] in repr(listed) for _, text in made)


def test_a_key_is_revoked_once_and_an_unknown_id_is_none(keys):
    key, _ = keys.create("gone", 60, ["predict"])
    first = keys.revoke(key.id)
    assert first.revoked is not None
    assert keys.revoke(key.id) is None
    assert keys.all() == [first]
    assert keys.revoke("nothing") is None


def test_a_file_that_takes_the_place_of_the_database_counts_from_then_on(keys, path, tmp_path):
    _, old = keys.create("old", 60, ["predict"])
    assert keys.verify(old)
    other = ApiKeys(tmp_path / "other.db")
    _, new = other.create("new", 60, ["predict"])
    other.close()
    (tmp_path / "other.db").replace(path)
    assert keys.verify(new)
    assert refused(keys, old).code == "key_unknown"
    _, made = keys.create("made", 60, ["predict"])
    again = ApiKeys(path)
    assert again.verify(made)
    assert [key.name for key in again.all()] == ["made", "new"]
    again.close()


def test_a_database_that_is_gone_or_broken_is_an_error_and_comes_back(keys, path):
    _, text = keys.create("kept", 60, ["predict"])
    content = path.read_bytes()
    for broken in (None, b"", b"no database" * 1000):
        path.unlink(missing_ok=True)
        if broken is not None:
            path.write_bytes(broken)
        with pytest.raises(sqlite3.Error):
            keys.verify(text)
    path.unlink()
    path.write_bytes(content)
    assert keys.verify(text)


def test_a_locked_database_is_waited_for_only_for_a_moment(keys, path):
    _, text = keys.create("kept", 60, ["predict"])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.perf_counter()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        keys.verify(text)
    assert time.perf_counter() - started < 0.1

    async def verify_and_unlock():
        asyncio.get_running_loop().call_later(0.05, other.close)
        return await keys.verify_soon(text)

    assert asyncio.run(verify_and_unlock()).name == "kept"


def test_keys_of_a_former_version_with_a_write_ahead_log_still_open(path):
    first = ApiKeys(path)
    _, text = first.create("kept", 60, ["predict"])
    first.close()
    former = sqlite3.connect(path)
    former.execute("PRAGMA journal_mode=WAL")
    former.execute("UPDATE keys SET name = 'renamed'")
    former.commit()
    during = ApiKeys(path)  # two services with the same keys
    assert during.verify(text).name == "renamed"
    during.close()
    former.close()
    after = ApiKeys(path)
    assert after.verify(text).name == "renamed"
    assert sorted(file.name for file in path.parent.iterdir()) == ["keys.db"]
    after.close()
