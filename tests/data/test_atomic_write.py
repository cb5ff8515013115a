"""A file appears complete or not at all."""

import os
import subprocess
import sys

import pytest

from gridcast.data.atomic_write import atomic_write, set_aside, temporary_owner


def test_a_new_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    for content in ("old", "new"):
        with atomic_write(path) as temporary:
            temporary.write_text(content)
        assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")


def test_an_exception_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "old"


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "table.csv", []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.exists()))
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert seen == [False]
    assert path.exists()


def test_permissions_follow_the_umask(tmp_path):
    path = tmp_path / "table.csv"
    before = os.umask(0o022)
    try:
        with atomic_write(path) as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_without_overwrite_a_new_file_appears(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "store"
    with atomic_write(path, overwrite=False) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_without_overwrite_the_first_file_stays(tmp_path):
    path = tmp_path / "store"
    with atomic_write(path, overwrite=False) as temporary:
        temporary.write_text("second")
        path.write_text("first")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import pathlib, sys, time
from gridcast.data.atomic_write import atomic_write

for number in range(10**6):
    with atomic_write(pathlib.Path(sys.argv[1])) as temporary:
        temporary.write_text(str(number) * 20_000)
    print(number, flush=True)
"""


def test_a_kill_leaves_a_complete_file(tmp_path):
    path = tmp_path / "table.csv"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        for _ in range(20):
            writer.stdout.readline()
        writer.kill()
    content = path.read_text()
    number = content[: len(content) // 20_000]
    assert content == number * 20_000


def test_a_temporary_file_has_a_name_that_nobody_else_uses_and_that_every_disk_allows(tmp_path):
    for name in ("mlflow.db", "x" * 251 + ".csv"):
        with atomic_write(tmp_path / name) as temporary:
            temporary.write_text("new")
            assert temporary_owner(temporary.name) == os.getpid()
    others = (".env.2024", ".mlflow.db.12", ".gridcast-tmp-x.1" + "0" * 30)
    assert [temporary_owner(name) for name in others] == [None] * 3


def test_what_is_set_aside_replaces_nothing(tmp_path):
    for name in ("notes.txt", "notes.kept.txt"):
        (tmp_path / name).write_text(name)
    assert set_aside(tmp_path / "notes.txt").name == "notes.kept-2.txt"
    assert (tmp_path / "notes.kept.txt").read_text() == "notes.kept.txt"
