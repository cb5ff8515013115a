"""A service that is killed, whose champions are exchanged, and whose key database is locked and replaced meanwhile."""

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
import service_process
import warm_python

from gridcast.monitoring.prediction_log import VERSION, read_predictions
from gridcast.serving.api_keys import ApiKeys
from gridcast.serving.http_errors import HttpError
from gridcast.tracking.registry import CHAMPION
from gridcast.tracking.store import connect
from small_service import NEXT, POINT, question
from tracking_servers import free_port, wait

pytestmark = pytest.mark.xdist_group("serving")
MAKER = """
import sqlite3, sys
from pathlib import Path
from gridcast.serving.api_keys import ApiKeys
keys = ApiKeys(Path(sys.argv[1]))
for number in range(10**6):
    key, text = keys.create("made", 600, ["predict"])
    print("made", text, flush=True)
    if number % 3 == 0:
        print("will revoke", text, flush=True)
        keys.revoke(key.id)
        print("revoked", text, flush=True)
"""


def copy_of(path, target):
    """A consistent copy of a database, as a backup makes it."""
    with contextlib.closing(sqlite3.connect(path)) as own, contextlib.closing(sqlite3.connect(target)) as other:
        own.backup(other)
    return target


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


def code(keys, text):
    """The code of the error for a key, None for a good one."""
    try:
        keys.verify(text)
    except HttpError as error:
        return error.code


def test_no_key_and_no_revocation_is_lost_by_kills_locks_and_a_restored_backup(tmp_path):
    path, said = tmp_path / "keys.db", []
    for number in range(4):
        command = [sys.executable, "-c", MAKER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            said += [process.stdout.readline().split() for _ in range(5)]
            with locked(path):
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            said += [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        if number == 1:
            copy_of(path, tmp_path / "backup.db").replace(path)
    keys = ApiKeys(path)
    states = {words[-1]: " ".join(words[:-1]) for words in said}
    assert len(states) >= 12
    for text, state in states.items():
        allowed = {"made": {None}, "revoked": {"key_revoked"}, "will revoke": {None, "key_revoked"}}[state]
        assert code(keys, text) in allowed
    keys.close()


def test_a_database_that_is_locked_holds_up_nobody_and_one_that_is_replaced_is_read_at_once(tmp_path):
    path = tmp_path / "keys.db"
    keys = ApiKeys(path)
    _, old = keys.create("old", 600, ["predict"])
    restored = copy_of(path, tmp_path / "backup.db")
    _, new = keys.create("new", 600, ["predict"])
    with locked(path):
        started = time.monotonic()
        with pytest.raises(sqlite3.OperationalError):
            keys.verify(new)
        assert time.monotonic() - started < 0.5
        writer = threading.Thread(target=keys.create, args=("patient", 600, ["predict"]))
        writer.start()
        time.sleep(0.1)
    writer.join()
    assert "patient" in {key.name for key in keys.all()}
    restored.replace(path)
    assert [code(keys, text) for text in (old, new)] == [None, "key_unknown"]
    path.unlink()
    with pytest.raises(sqlite3.Error):
        keys.verify(old)
    keys.close()


class Life:
    """A service process; `answered` are the ids of the requests that it answered."""

    def __init__(self, shop, name, folder, port):
        self.url, self.answered = f"http://127.0.0.1:{port}", []
        script = Path(service_process.__file__)
        command = [sys.executable, str(script), shop.uri, name, str(folder), str(port)]
        self.log = (folder / "service.log").open("a")
        self.process = warm_python.Popen(command, cwd=folder, stdout=self.log, stderr=self.log)
        wait(self.is_ready, 120, "the service did not become ready")

    def is_ready(self):
        assert self.process.poll() is None
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/readyz", timeout=10).ok

    def create_key(self):
        """A new key, if the database let it be made."""
        headers = {"X-Admin-Token": service_process.TOKEN}
        answer = requests.post(f"{self.url}/generate_api_key", json={"name": "x"}, headers=headers, timeout=30)
        assert answer.status_code in (201, 503)
        return answer.json().get("api_key")

    def ask(self, key, name, seconds):
        """Ask for forecasts again and again, for some seconds; return the versions that answered."""
        versions, end = set(), time.monotonic() + seconds
        while time.monotonic() < end:
            answer = requests.post(f"{self.url}/predict", json=question(name), headers={"X-API-Key": key}, timeout=30)
            if answer.status_code == 200:
                self.answered.append(answer.headers["X-Request-ID"])
                versions.add(answer.json()["version"])
            else:
                assert answer.status_code in (429, 503)
            time.sleep(0.02)
        return versions

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
        return self.answered


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_lose_nothing_and_the_champion_is_one(shop, tmp_path):
    draw, name = random.Random(1), "stormy"
    versions = [shop.champion(name, POINT), shop.champion(name, NEXT)]
    client, _ = connect(shop.uri)
    path, port, stop = tmp_path / "keys.db", free_port(), threading.Event()

    def exchange():
        while not stop.wait(0.5):
            client.set_registered_model_alias(name, CHAMPION, draw.choice(versions))

    exchanging = threading.Thread(target=exchange)
    exchanging.start()
    keys, answered = [], []
    try:
        for number in range(20):
            life = Life(shop, name, tmp_path, port)
            keys += filter(None, [life.create_key()])
            if number % 3 == 1:
                with locked(path):
                    time.sleep(0.3)
                    life.ask(keys[0], name, 0.3)
            if number % 5 == 2:
                copy_of(path, tmp_path / "backup.db").replace(path)
                keys += filter(None, [life.create_key()])
            assert life.ask(keys[0], name, draw.uniform(0.2, 4)) <= set(versions)
            answered.append(life.kill())
    finally:
        stop.set()
        exchanging.join()
    life = Life(shop, name, tmp_path, port)
    champion = client.get_model_version_by_alias(name, CHAMPION)
    wait(lambda: life.ask(keys[0], name, 0.1) == {str(champion.version)}, 60, "the champion was not served")
    for key in keys:
        assert requests.get(f"{life.url}/models", headers={"X-API-Key": key}, timeout=30).status_code == 200
    life.kill()
    with contextlib.closing(sqlite3.connect(tmp_path / "kept.db")) as log:
        assert log.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        logged = [request for (request,) in log.execute("SELECT request FROM served")]
    assert len(logged) == len(set(logged))
    for of_life in answered:  # the log trails the answers, and has no gap
        is_logged = [request in logged for request in of_life]
        assert is_logged == sorted(is_logged, reverse=True)
    assert len(logged) > sum(map(len, answered)) / 2
    forecasts, _ = read_predictions(tmp_path / "kept.db", name)
    assert set(forecasts[VERSION]) <= set(versions)
    assert "Traceback" not in (tmp_path / "service.log").read_text()
