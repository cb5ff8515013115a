"""Files kept as one: whole or not at all, and known when damaged."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gridcast.training import atomic_bundle
from gridcast.training.atomic_bundle import DamagedError

FILES = {"state.json": b'{"epoch": 3}', "best.keras": bytes(range(256)) * 40, "empty": b""}


def test_what_was_kept_comes_back(tmp_path):
    path = tmp_path / "folder" / "kept"
    atomic_bundle.write(path, FILES)
    assert atomic_bundle.read(path) == FILES
    atomic_bundle.write(path, {"other": b"1"})
    assert atomic_bundle.read(path) == {"other": b"1"}
    assert [entry.name for entry in path.parent.iterdir()] == ["kept"]


def test_what_was_never_kept_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_bundle.read(tmp_path / "kept")


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "kept"
    atomic_bundle.write(path, FILES)
    whole = path.read_bytes()
    for position in np.random.default_rng(0).integers(8 * len(whole), size=200):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedError, match="kept: damaged, its checksum does not fit$"):
            atomic_bundle.read(path)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 500, -1])
def test_a_file_cut_short_is_noticed(tmp_path, length):
    path = tmp_path / "kept"
    atomic_bundle.write(path, FILES)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedError):
        atomic_bundle.read(path)


WRITER = """
import pathlib, sys
from gridcast.training import atomic_bundle
number = 0
while True:
    atomic_bundle.write(pathlib.Path(sys.argv[1]), {"number": str(number).encode() * 20_000})
    number += 1
    if number == 1:
        print("begun", flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "kept"
    for delay in (0.0, 0.011, 0.023, 0.037, 0.05):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(delay)
            os.kill(writer.pid, signal.SIGKILL)
        number = atomic_bundle.read(path)["number"]
        assert number == number[: len(number) // 20_000] * 20_000
