"""The doctor on real installations, stores, caches and disks that are really broken."""

import base64
import contextlib
import hashlib
import http.server
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import warm_python

from gridcast.cli import doctor
from gridcast.cli.doctor import cache, disk, installation, store
from gridcast.cli.doctor.finding import Project
from gridcast.runtime.errors import GridcastError, TrackingError
from gridcast.sweep import lease
from gridcast.tracking import artifact_paths, mlflow_runs, run_recording, sqlite_store
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import open_store
from gridcast.training import atomic_bundle

URI = "sqlite:///mlflow.db"
FILE = Path("mlflow.db")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A project: a store with one run, its model, a version of it in the registry, and an open sweep."""
    folder = tmp_path_factory.mktemp("original") / "my project"
    folder.mkdir()
    with contextlib.chdir(folder):
        found = open_store("retail", URI)
        parent = mlflow_runs.open_sweep(
            found, mlflow_runs.SweepEntry("s1", "the sweep", artifact_texts={"experiment.yaml": "version: 1\n"})
        )
        mlflow_runs.set_run_status(found, parent, "FINISHED")
        entry = RunEntry(
            "GRU", "run", "k1", params={"units": "4"}, metrics={"best_val_loss": 0.5}, artifacts={"notes.txt": b"hello"}
        )
        run_id = run_recording.record_run(found, parent, entry)
        model = found.client.create_logged_model(found.experiment, name="model", source_run_id=run_id)
        Path("weights").write_text("1 2 3")
        found.client.log_model_artifact(model.model_id, "weights")
        found.client.finalize_logged_model(model.model_id, "READY")
        found.client.create_registered_model("winner")
        found.client.create_model_version("winner", f"models:/{model.model_id}", run_id)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def kept(here, original):
    """The database of the project alone."""
    shutil.copy(original / FILE, FILE)
    return here


@pytest.fixture
def moved(here, original):
    """The project as it was moved from a folder that is gone now; returns that and the present one."""
    old, new = here / "old place", here / "new"
    with contextlib.chdir(here):
        shutil.copytree(original, old)
        with sqlite3.connect(old / FILE) as database:
            for table, column in artifact_paths.PATH_COLUMNS:
                database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(original), str(old)))
        shutil.move(old, new)
    os.chdir(new)
    return old, new


def project(uri=URI, is_swept=lambda _: False):
    return Project(uri, Path(".gridcast"), Path("reports"), is_swept)


def findings(check, **about):
    return list(check(project(**about)))


def the_wrong(check, **about):
    (wrong,) = [finding for finding in check(project(**about)) if not finding.ok]
    return wrong


def fixed(check, **about):
    """Return what the only fix of the check did; afterwards the check finds no problem."""
    texts = [doctor.fix(finding) for finding in check(project(**about)) if not finding.ok]
    assert [finding for finding in findings(check, **about) if not finding.ok] == []
    (text,) = texts
    return text


def content(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return sorted(database.iterdump())


# Installation


def test_this_installation_has_every_package():
    (found,) = findings(installation.check_packages)
    assert (found.ok, installation.unmet_requirements("gridcast")) == (True, [])
    assert found.text.startswith("gridcast 0.")


def test_packages_that_are_missing_or_of_a_wrong_version_are_named(tmp_path, monkeypatch):
    wants = ["numpy>=2", "pandas>=3", "no-such-thing>1", "gone-elsewhere; sys_platform == 'mars'", "with-extra[more]"]
    wants += ["unasked; extra == 'more'", "outdated>=2; extra == 'more'"]
    packages = {"gridcast-9": wants, "numpy-1.0": [], "with_extra-1": ["deep<1; extra == 'more'"], "deep-2": []}
    packages |= {"outdated-1": []}
    for name, needs in packages.items():
        (tmp_path / f"{name}.dist-info").mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name.split('-')[0]}", f"Version: {name.split('-')[1]}"]
        lines += ["Provides-Extra: more", "Requires-Python: >=99", *(f"Requires-Dist: {need}" for need in needs)]
        (tmp_path / f"{name}.dist-info" / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    wrong = the_wrong(installation.check_packages)
    python = ".".join(map(str, sys.version_info[:3]))
    assert wrong.text.split("; ") == [
        "numpy is 1.0, required is >=2",
        "no-such-thing is missing, required is >1",
        "deep is 2, required is <1",
        "outdated is 1, required is >=2",
        f"Python is {python}, required is >=99",
    ]
    assert wrong.remedy == "install them: pip install gridcast"
    (tmp_path / "gridcast-9.dist-info" / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    assert the_wrong(installation.check_packages).remedy == "reinstall it: rm -f .venv/.run && make"


@pytest.mark.parametrize(
    ("keras", "text"),
    [
        ("raise ImportError('no such library')", "Keras fails (ImportError: no such library) on jax"),
        ("import os, sys; sys.stderr.write('bad opcode'); sys.stderr.flush(); os.abort()", "SIGABRT (bad opcode) on"),
    ],
)
def test_a_backend_that_cannot_be_imported_or_crashes_is_reported(tmp_path, monkeypatch, keras, text):
    (tmp_path / "keras.py").write_text(keras)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = findings(installation.check_backends)
    assert [finding.ok for finding in found] == [False, False]
    assert text in found[0].text


def test_only_the_backends_that_are_installed_are_checked(tmp_path, monkeypatch):
    (tmp_path / "keras.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    assert len(findings(installation.check_backends)) == 1


# The store's file


def test_a_store_that_is_not_there_yet_is_well_and_not_made(here):
    (found,) = findings(store.check_store)
    assert (found.ok, found.text) == (True, "mlflow.db: not there yet, the first run makes it")
    assert [*findings(store.check_artifacts), *findings(store.check_runs)] == []
    assert sqlite_store.check_file(URI) is artifact_paths.stale_location_message(URI) is None
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("kept")
def test_a_whole_store_is_well():
    (found,) = findings(store.check_store)
    assert (found.ok, found.text) == (True, "mlflow.db: whole, 2 runs")
    assert sqlite_store.check_file(URI) is None


def page_of(table):
    """Where the first page of a table or index lies in the file."""
    with contextlib.closing(sqlite3.connect(FILE)) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return (root - 1) * size, size


def overwrite(start, length):
    content = bytearray(FILE.read_bytes())
    content[start : start + length] = bytes(255 - byte for byte in content[start : start + length])
    FILE.write_bytes(content)


def change(start, difference):
    """Change a number of two bytes, as the count of rows in a page."""
    content = bytearray(FILE.read_bytes())
    content[start : start + 2] = (int.from_bytes(content[start : start + 2]) + difference).to_bytes(2)
    FILE.write_bytes(content)


DAMAGES = {
    "garbage": lambda: FILE.write_bytes(os.urandom(50_000)),
    "header": lambda: overwrite(0, 16),
    "cut short": lambda: os.truncate(FILE, FILE.stat().st_size // 2 // 4096 * 4096),
    "cut within a page": lambda: os.truncate(FILE, 5000),
    "a page": lambda: overwrite(*page_of("metrics")),
    "a row that seems never to have been": lambda: change(page_of("tags")[0] + 3, -1),
    "bytes amid a page": lambda: overwrite(page_of("runs")[0] + 5, 8),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_recognised_before_mlflow_opens_it(kept, damage):
    DAMAGES[damage]()
    with pytest.raises(TrackingError, match=r"^mlflow\.db: damaged: .*; `gridcast doctor --fix` rebuilds it where"):
        sqlite_store.check_file(URI)
    before = FILE.read_bytes()
    wrong = the_wrong(store.check_store)
    with pytest.raises(
        TrackingError, match=r"^mlflow.db: cannot be rebuilt without loss \(.*\); put a backup back, save"
    ):
        doctor.fix(wrong)
    assert FILE.read_bytes() == before
    assert list(kept.iterdir()) == [kept / FILE]
    assert [*findings(store.check_artifacts), *findings(store.check_runs)] == []


def test_an_empty_file_is_damaged_where_runs_have_left_artifacts(here):
    FILE.touch()
    assert sqlite_store.check_file(URI) is None
    (here / "mlruns" / "1" / ("0a" * 16)).mkdir(parents=True)
    with pytest.raises(
        TrackingError, match=r"^mlflow.db: damaged: it is empty, while mlruns keeps artifacts of 1 runs"
    ):
        sqlite_store.check_file(URI)


@pytest.mark.parametrize("index", ["index_params_run_uuid", "sqlite_autoindex_tags_1", "index_metrics_run_uuid"])
def test_a_file_of_which_only_an_index_is_damaged_is_rebuilt_with_every_row(kept, index):
    before = content(FILE)
    overwrite(*page_of(index))
    hurt = FILE.read_bytes()
    text = fixed(store.check_store)
    assert content(FILE) == before
    copy = Path(
        re.fullmatch(r"mlflow.db is rebuilt from its tables \(2 runs\); the damaged one is kept as (.*)", text)[1]
    )
    assert copy.read_bytes() == hurt
    assert {path.name for path in kept.iterdir()} == {"mlflow.db", copy.name}


@pytest.mark.usefixtures("kept")
def test_the_remedy_saves_what_can_be_read():
    if shutil.which("sqlite3") is None:
        pytest.skip("needs the sqlite3 program")
    overwrite(*page_of("metrics"))
    command = re.search(r"`(sqlite3 [^`]*)`", the_wrong(store.check_store).remedy)[1]
    subprocess.run(command, shell=True, check=True)
    saved = Path("mlflow.db.saved")
    assert (
        sqlite_store.row_count(saved, "runs"),
        sqlite_store.find_damage(saved),
        sqlite_store.schema_problem(saved),
    ) == (2, "", None)


@pytest.mark.usefixtures("here")
def test_a_database_of_another_program_is_left_alone():
    with contextlib.closing(sqlite3.connect(FILE)) as other:
        other.execute("CREATE TABLE songs (title)")
    os.utime(FILE, (0, 0))
    wrong = the_wrong(store.check_store)
    assert (wrong.text, wrong.fix) == ("mlflow.db: an SQLite database of another program", None)
    with pytest.raises(TrackingError, match=r"of another program; name another file in MLFLOW_TRACKING_URI$"):
        sqlite_store.check_file(URI)


@pytest.mark.usefixtures("kept")
def test_a_store_of_a_newer_mlflow_is_left_alone():
    with contextlib.closing(sqlite3.connect(FILE, isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffff00001111'")
    os.utime(FILE, (0, 0))
    wrong = the_wrong(store.check_store)
    assert wrong.text.startswith("mlflow.db: written by a newer MLflow (schema ffff00001111; the installed one knows")
    assert wrong.fix is None
    with pytest.raises(TrackingError, match="install that MLflow"):
        sqlite_store.check_file(URI)


def to_schema(path, step):
    """Let Alembic lead a database to another schema of MLflow, as an older MLflow had it."""
    from alembic import command
    from mlflow.store.db import utils

    settings = utils._get_alembic_config(f"sqlite:///{path.absolute()}")
    (command.downgrade if step.startswith("-") else command.upgrade)(settings, step)
    os.utime(path, (0, 0))  # nobody is making it right now


def test_the_newest_schema_is_that_of_mlflow():
    from mlflow.store.db import utils

    assert sqlite_store.known_revisions()[1] == utils._get_latest_schema_revision()


def test_a_store_of_an_older_mlflow_is_upgraded_after_a_backup(kept):
    to_schema(FILE, "-1")
    old, before = sqlite_store.schema_revision(FILE), content(FILE)
    with pytest.raises(TrackingError, match=rf"^mlflow.db: written by an older MLflow \(schema {old}; the .*--fix`"):
        sqlite_store.check_file(URI)
    assert findings(store.check_runs) == []
    text = fixed(store.check_store)
    assert content(Path(text.partition("backup: ")[2])) == before
    assert open_store("retail", f"sqlite:///{kept}/mlflow.db", create=False).experiment == "1"


@pytest.mark.usefixtures("kept")
def test_an_upgrade_that_fails_changes_nothing():
    to_schema(FILE, "-1")
    with contextlib.closing(sqlite3.connect(FILE)) as database:
        database.execute("CREATE TABLE job_locks (in_the_way)")  # the second that is made
    before = content(FILE)
    with pytest.raises(TrackingError, match=r"upgrade` failed, the file is as it was: .*job_locks already exists"):
        doctor.fix(the_wrong(store.check_store))
    assert content(FILE) == before


def test_a_store_whose_making_was_interrupted_is_set_aside(here):
    """What a kill within the first second of MLflow leaves; MLflow itself never opens such a file again."""
    import sqlalchemy
    from mlflow.store.tracking.dbmodels.initial_models import Base

    Base.metadata.create_all(sqlalchemy.create_engine(f"sqlite:///{here}/mlflow.db"))
    to_schema(FILE, "bd07f7e963c5")
    with pytest.raises(TrackingError, match=r"^mlflow.db: left unfinished by .* renames it; nothing is recorded"):
        sqlite_store.check_file(URI)
    text = fixed(store.check_store)
    assert re.fullmatch(r"renamed to mlflow.db.unfinished-[\d-]+; the next run makes a new one", text)
    assert not FILE.exists()


MAKER = """
import sqlite3, sys, time
from contextlib import closing
from pathlib import Path
from gridcast.tracking import sqlite_store

def make(uri):
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as new:
        for number in range(20):
            with new:
                new.execute(f"CREATE TABLE t{number} (x)")
            print(number, flush=True)
            time.sleep(0.01)

sqlite_store.create_database(Path("mlflow.db"), make)
"""


def test_several_processes_that_make_one_store_make_one(here):
    makers = [warm_python.Popen([sys.executable, "-c", MAKER], stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [maker.wait() for maker in makers] == [0, 0, 0]
    assert list(here.iterdir()) == [here / FILE]
    assert len(sqlite_store.table_names(FILE)) == 20


def test_a_kill_while_the_store_is_made_leaves_no_store_and_what_it_leaves_is_removed(here):
    with warm_python.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE) as maker:
        maker.stdout.readline()
        maker.kill()
    left = list(here.iterdir())
    assert left
    assert not FILE.exists()
    for path in left:
        os.utime(path, (0, 0))
    assert fixed(cache.check_leftovers) == f"{len(left)} removed"
    assert list(here.iterdir()) == []


def test_the_journal_of_a_lost_database_does_not_reach_a_new_one(here):
    def make(uri):
        with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as new:
            new.execute("CREATE TABLE t (x)")

    Path("mlflow.db-journal").write_bytes(b"old")
    sqlite_store.create_database(FILE, make)
    (left,) = here.glob("mlflow.db.left-*-journal")
    assert left.read_bytes() == b"old"
    assert set(here.iterdir()) == {here / FILE, left}
    assert sqlite_store.table_names(FILE) == {"t"}


@pytest.mark.usefixtures("kept")
def test_writes_that_stand_beside_the_database_are_reported():
    with contextlib.closing(sqlite3.connect(FILE, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("UPDATE runs SET name = 'other'")
        (found,) = findings(store.check_store)
        assert found.ok
        assert "its last writes are in mlflow.db-wal: never copy or move one without the other" in found.text


@pytest.mark.usefixtures("kept")
def test_a_store_that_somebody_writes_to_is_not_called_damaged(monkeypatch):
    monkeypatch.setattr(sqlite_store, "BUSY_TIMEOUT", 0.1)
    with contextlib.closing(sqlite3.connect(FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert sqlite_store.check_file(URI) is None
        texts = [found.text for found in doctor.examine(checks=[store.check_store])]
    assert texts == ["cannot be examined: database is locked"]


# Where artifacts lie


def test_a_moved_project_is_recognised_and_led_to_its_new_place(moved):
    old, new = moved
    message = f"the project was moved from {old} to {new}, and MLflow still looks for artifacts there"
    assert (
        artifact_paths.stale_location_message(URI)
        == artifact_paths.stale_location_message(URI, "retail")
        == f"mlflow.db: {message}; run: gridcast doctor --fix"
    )
    assert artifact_paths.stale_location_message(URI, "another") is None
    before = content(FILE)
    wrong = the_wrong(store.check_artifacts)
    assert wrong.text == message
    text = fixed(store.check_artifacts)
    assert artifact_paths.stale_location_message(URI) is None
    assert str(old) not in "\n".join(content(FILE))
    assert content(Path(text.partition("backup: ")[2])) == before
    # MLflow finds everything at the new place, and writes there.
    uri = f"sqlite:///{new}/mlflow.db"
    again = open_store("retail", uri, create=False)
    (run,) = mlflow_runs.search_runs(again, "tags.`gridcast.kind` = 'run'")
    assert mlflow_runs.read_artifact(again, run.info.run_id, "notes.txt") == b"hello"
    import mlflow

    got = mlflow.artifacts.download_artifacts("models:/winner/1", tracking_uri=uri, dst_path=str(new / "got"))
    assert Path(got, "weights").read_text() == "1 2 3"
    run_recording.record_run(again, "parent", RunEntry("other", "run", "k2", artifacts={"more.txt": b"new"}))
    assert list(new.glob("mlruns/1/*/artifacts/more.txt"))
    assert not old.exists()


def test_every_column_of_the_schema_that_holds_a_path_is_known(original):
    """Where MLflow adds a place for paths, this store of its own tells."""
    with contextlib.closing(sqlite3.connect(original / FILE)) as database:
        found = {
            (table, column)
            for table in sqlite_store.table_names(original / FILE)
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall()
            if database.execute(f"SELECT 1 FROM {table} WHERE {column} LIKE '%{original}%'").fetchone()
        }
    assert found <= set(artifact_paths.PATH_COLUMNS)
    assert {table for table, _ in found} == {"experiments", "runs", "logged_models", "model_versions"}


def test_paths_that_are_written_as_uris_stay_uris(moved):
    _, new = moved
    with sqlite3.connect(FILE) as database:
        database.execute("UPDATE runs SET artifact_uri = replace(?, '%20', ' ') || artifact_uri", ("file://",))
        database.execute("UPDATE runs SET artifact_uri = replace(artifact_uri, ' ', '%20')")
    fixed(store.check_artifacts)
    with contextlib.closing(sqlite3.connect(FILE)) as database:
        uris = [uri for (uri,) in database.execute("SELECT artifact_uri FROM runs")]
    assert all(uri.startswith(f"{new.as_uri()}/mlruns/1/") for uri in uris)


def test_a_project_that_was_moved_twice_is_led_from_both_places(moved):
    old, new = moved
    with sqlite3.connect(FILE) as database:
        database.execute(
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, '/older') WHERE name = 'GRU'", (str(old),)
        )
    wrong = [finding for finding in findings(store.check_artifacts) if not finding.ok]
    assert [
        f"from {place} to {new}" in finding.text for place, finding in zip([old, "/older"], wrong, strict=True)
    ] == [
        True,
        True,
    ]
    for finding in wrong:
        doctor.fix(finding)
    assert len(list(new.glob("mlflow.db.before-move-*"))) == 2
    assert [finding.ok for finding in findings(store.check_artifacts)] == [True]


def test_a_copy_of_a_project_is_led_to_its_own_artifacts(here, original, monkeypatch):
    shutil.copytree(original, here / "copy")
    monkeypatch.chdir(here / "copy")
    message = f"the project was copied from {original} to {here / 'copy'}, and MLflow still looks for artifacts there"
    assert message in artifact_paths.stale_location_message(URI)
    assert the_wrong(store.check_artifacts).text == message
    fixed(store.check_artifacts)
    monkeypatch.chdir(original)
    assert [finding.ok for finding in findings(store.check_artifacts)] == [True]
    assert artifact_paths.stale_location_message(URI) is None


def test_a_project_without_a_run_follows_its_move_too(here, original, monkeypatch):
    (here / "new").mkdir()
    monkeypatch.chdir(here / "new")
    shutil.copy(original / FILE, FILE)
    with sqlite3.connect(FILE) as database:
        database.execute("DELETE FROM model_versions")
        database.execute("DELETE FROM logged_models")
        database.execute("DELETE FROM runs")
        database.execute("UPDATE experiments SET artifact_location = '/nowhere/mlruns/' || experiment_id")
    assert "moved from /nowhere to" in artifact_paths.stale_location_message(URI)
    fixed(store.check_artifacts)
    assert artifact_paths.stale_location_message(URI) is None


def test_artifacts_on_a_disk_that_is_not_mounted_are_not_taken_for_moved(moved):
    shutil.rmtree("mlruns")
    old, _ = moved
    message = f"artifacts lie in {old}/mlruns, which is not there"
    assert artifact_paths.stale_location_message(URI) == f"mlflow.db: {message}; mount it, or put it back"
    wrong = the_wrong(store.check_artifacts)
    assert (wrong.text, wrong.fix) == (message, None)


def test_artifacts_that_lie_where_they_always_did_are_left_there(moved):
    """Also where the same lie here: a copy of the artifacts alone is no second project."""
    old, _ = moved
    shutil.copytree("mlruns", old / "mlruns")
    assert artifact_paths.stale_location_message(URI) is None
    assert [finding.ok for finding in findings(store.check_artifacts)] == [True]


@pytest.mark.usefixtures("moved")
def test_missing_models_are_reported():
    fixed(store.check_artifacts)
    shutil.rmtree(next(Path("mlruns/1/models").iterdir()))
    assert the_wrong(store.check_artifacts).text.startswith("1 recorded models are missing, the first in ")


# Runs, servers, old stores


def test_runs_that_nobody_works_at_are_closed(kept):
    own = open_store("retail", f"sqlite:///{kept}/mlflow.db", create=False)
    parent = mlflow_runs.open_sweep(own, mlflow_runs.SweepEntry("s2", "a dead sweep"))
    stranger = own.client.create_run(own.experiment).info.run_id
    assert [finding.ok for finding in findings(store.check_runs, uri=own.uri, is_swept=lambda _: True)] == [True]
    claimed = lease.acquire_lease(own)
    assert [finding.ok for finding in findings(store.check_runs, uri=own.uri, is_swept=store.is_swept)] == [True]
    claimed.release()
    wrong = the_wrong(store.check_runs, uri=own.uri, is_swept=store.is_swept)
    assert wrong.text == "1 are marked RUNNING though no process works on them: a dead sweep"
    assert fixed(store.check_runs, uri=own.uri, is_swept=store.is_swept) == "1 runs are marked KILLED"
    assert own.client.get_run(parent).info.status == "KILLED"
    assert own.client.get_run(stranger).info.status == "RUNNING"


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        database = {"/health": b"OK", "/version": b"3.99.0"}
        self.send_response(200 if self.path in database else 404)
        self.end_headers()
        self.wfile.write(database.get(self.path, b""))

    def log_message(self, *_):
        pass


@pytest.mark.usefixtures("here")
def test_a_server_tells_whether_it_answers_and_its_version():
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        (found,) = findings(store.check_store, uri=uri)
        server.shutdown()
    assert found.ok
    assert found.text.startswith(f"{uri}: answers; MLflow 3.99.0 there, 3.17")
    wrong = the_wrong(store.check_store, uri=uri)
    assert f"{uri}: no tracking server answers: " in wrong.text
    assert findings(store.check_runs, uri=uri) == []


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("password", ["open%20sesame", "open/sesame", "12/34"])
def test_a_server_is_asked_with_the_user_and_the_password_of_its_address(password):
    received = []

    class Guarded(Answers):
        def do_GET(self):
            received.append(base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode())
            self.path = self.path.removeprefix("/mlflow")
            super().do_GET()

    with http.server.HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (found,) = findings(store.check_store, uri=f"http://anna:{password}@127.0.0.1:{server.server_port}/mlflow")
        server.shutdown()
    assert found.ok
    assert "anna" not in found.text
    assert received == [f"anna:{password.replace('%20', ' ')}"] * 2


@pytest.mark.parametrize("uri", ["file:///somewhere/mlruns", "./mlruns", "mlruns"])
@pytest.mark.usefixtures("here")
def test_a_folder_is_no_store_any_more(uri):
    assert the_wrong(store.check_store, uri=uri).text == f"{uri}: a folder, where MLflow keeps no runs any more"


def test_a_store_of_files_is_brought_over_by_the_commands_of_the_remedy(here, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    old = mlflow.MlflowClient("./mlruns")
    run_id = old.create_run(old.create_experiment("old")).info.run_id
    old.log_text(run_id, "hello", "notes.txt")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    wrong = the_wrong(store.check_legacy_files)
    assert wrong.text.startswith("mlruns keeps 2 experiments of an MLflow before 3.13 in files")
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in re.findall("`([^`]*)`", wrong.remedy):
        if command != "mlflow ui":
            subprocess.run(command, shell=True, check=True, env=variables, capture_output=True)
    assert findings(store.check_legacy_files) == []
    assert findings(store.check_store)[0].text.startswith("mlflow.db: whole, 1 runs")
    assert mlflow_runs.read_artifact(open_store("old", f"sqlite:///{here}/mlflow.db"), run_id, "notes.txt") == b"hello"


@pytest.mark.usefixtures("kept")
def test_a_store_of_files_is_never_brought_into_a_database_that_is_there():
    Path("mlruns/1").mkdir(parents=True)
    Path("mlruns/1/meta.yaml").touch()
    assert "--target sqlite:///mlflow-legacy.db`" in the_wrong(store.check_legacy_files).remedy


# Cache and disk


def spool_folder():
    return Path(".gridcast/spool") / f"1-{hashlib.sha256(URI.encode()).hexdigest()[:8]}"


KEYS = ["0a" * 32, "1b" * 32]


@pytest.mark.usefixtures("here")
def test_damaged_states_and_results_are_set_aside():
    state, result = Path(".gridcast/checkpoints", KEYS[0]), spool_folder() / f"run-{KEYS[0]}"
    for path in (state, state.with_name(KEYS[1]), result, result.with_name(f"run-{KEYS[1]}")):
        atomic_bundle.write(path, {"content": os.urandom(1000)})
    assert [finding.text for finding in findings(cache.check_bundles)] == [
        "2 checkpoints of unfinished runs, all intact"
    ]
    hurt = result.read_bytes()[:-1]
    for path in (state, result):
        path.write_bytes(path.read_bytes()[:-1])
    wrong = [finding for finding in findings(cache.check_bundles) if not finding.ok]
    assert [finding.text for finding in wrong] == [f"{p}: damaged, its checksum does not fit" for p in (state, result)]
    assert [doctor.fix(finding) for finding in wrong] == [f"renamed to {path}.damaged" for path in (state, result)]
    assert [finding.ok for finding in findings(cache.check_bundles)] == [True]
    assert Path(f"{result}.damaged").read_bytes() == hurt


@pytest.mark.usefixtures("here")
def test_results_that_wait_are_no_fault():
    assert findings(cache.check_waiting) == []
    for key in KEYS:
        atomic_bundle.write(spool_folder() / f"run-{key}", {})
    (found,) = findings(cache.check_waiting)
    assert found.ok
    assert f"{spool_folder()}: 2 results wait for MLflow; the next gridcast run" in found.text


@pytest.mark.usefixtures("here")
def test_what_dead_processes_left_half_written_is_removed():
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    left = [
        Path(f".gridcast/checkpoints/.gridcast-tmp-{KEYS[0]}.{dead.pid}"),
        Path(f".gridcast/checkpoints/.{KEYS[0]}.{dead.pid}"),  # as a former version named it
        Path(f".gridcast-tmp-forecast.csv.{dead.pid}"),
        Path(f".gridcast/jax/jit_f-{KEYS[0]}-cache"),
    ]
    at_work = Path(f".gridcast/checkpoints/.gridcast-tmp-k1.{os.getpid()}")
    fresh = Path(f".gridcast/spool/.gridcast-tmp-k1.{dead.pid}")
    for path in (*left, at_work, fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if path in left else b"content")
        os.utime(path, None if path == fresh else (0, 0))
    half_a_report = Path(f"reports/shop/.gridcast-tmp-report-x.{dead.pid}")
    half_a_report.mkdir(parents=True)
    (half_a_report / "report.html").touch()
    os.utime(half_a_report, (0, 0))
    assert fixed(cache.check_leftovers) == "5 removed"
    assert [path for path in (*left, half_a_report) if path.exists()] == []
    assert [path for path in (at_work, fresh) if not path.exists()] == []


PERSONAL = (
    ".config.20260101",
    ".env",
    ".env.2024",
    ".forecast.csv.{dead}",
    ".mlflow.db.{dead}",
    ".gridcast-tmp-notes",
    ".gridcast/.keys.{dead}",
    ".gridcast/checkpoints/README",
    ".gridcast/checkpoints/.notes.{dead}",
    ".gridcast/jax/jit_f",
    ".gridcast/jax/notes-cache",
    ".gridcast/spool/my-notes",
    "reports/.draft.{dead}",
    "reports/shop/.report.html.{dead}",
    "reports/shop/notes.txt",
)
"""Files of a person, with names like those of gridcast."""


@pytest.mark.usefixtures("here")
def test_files_of_a_person_with_names_like_ours_stay():
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    paths = [Path(name.format(dead=dead.pid)) for name in PERSONAL]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        os.utime(path, (0, 0))
    for check in (cache.check_bundles, cache.check_waiting, cache.check_leftovers):
        assert findings(check) == []
    assert [path for path in paths if not path.exists()] == []


def test_a_full_disk_is_reported(here, monkeypatch):
    """A real small disk, where we may mount one."""
    assert [finding.ok for finding in findings(disk.check_space)] == [True, True]
    small = here / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        monkeypatch.chdir(small)
        wrong = the_wrong(disk.check_space)
        monkeypatch.chdir(here)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert wrong.text == f"only 0.0 GiB free in {small}"


@pytest.fixture
def unprivileged(monkeypatch):
    """A working directory that anybody may reach, and no right to override permissions."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        yield Path(folder)
        os.seteuid(os.getuid())
        Path(folder).chmod(0o755)


def test_folders_and_files_that_cannot_be_written_to_are_reported(unprivileged, original):
    shutil.copy(original / FILE, FILE)
    Path(".gridcast").mkdir()
    FILE.chmod(0o444)
    Path(".gridcast").chmod(0o777)
    unprivileged.chmod(0o555)
    if os.getuid() == 0:
        os.seteuid(65534)  # root itself may write everywhere
    wrong = [finding for finding in findings(disk.check_writable) if not finding.ok]
    assert [finding.text for finding in wrong] == [
        f"{unprivileged}: cannot be written to: Permission denied",
        "mlflow.db: cannot be written to: Permission denied",
    ]
    assert sqlite_store.check_file(URI) is None  # reading is possible
    os.seteuid(os.getuid())
    unprivileged.chmod(0o755)
    FILE.chmod(0o644)
    assert [finding.ok for finding in findings(disk.check_writable)] == [True]


# The whole


def test_a_new_project_is_well_and_nothing_is_written_to_it(here):
    found = list(doctor.examine())
    assert [finding.text for finding in found if not finding.ok] == []
    assert [finding.text for finding in found if finding.about == "backend"] == [
        "Keras computes on jax",
        "Keras computes on tensorflow",
    ]
    assert list(here.iterdir()) == []


def test_what_is_fixed_at_once_is_seen_by_later_checks(moved):
    """The file is rebuilt, and only then do artifacts and runs become visible and are fixed."""
    overwrite(*page_of("index_params_run_uuid"))
    with sqlite3.connect(FILE) as database:
        database.execute("UPDATE runs SET status = 'RUNNING' WHERE name = 'GRU'")
    uri = f"sqlite:///{moved[1]}/mlflow.db"
    about = []
    checks = [check for check in doctor.CHECKS if check is not installation.check_backends]
    for finding in doctor.examine(uri, is_swept=lambda _: False, checks=checks):
        if not finding.ok:
            about.append(finding.about)
            doctor.fix(finding)
    assert about == ["store", "artifacts", "runs"]
    assert all(finding.ok for finding in doctor.examine(uri, is_swept=lambda _: False, checks=checks))


@pytest.mark.usefixtures("here")
def test_what_only_a_person_can_fix_is_refused():
    with pytest.raises(GridcastError, match=r"^store: only you can fix this: unset MLFLOW_TRACKING_URI"):
        doctor.fix(the_wrong(store.check_store, uri="./mlruns"))
