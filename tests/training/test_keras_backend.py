"""Compiled programs on disk."""

import os
import sys

import pytest

from gridcast.runtime.errors import ConfigError
from gridcast.training import keras_backend


def test_of_the_programs_on_disk_those_used_last_are_kept(tmp_path):
    ending = f"-{'0a' * 32}-cache"
    for age, name in enumerate(("new", "middle", "old", "oldest")):
        path = tmp_path / f"{name}{ending}"
        path.write_bytes(b"x" * 10)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "notes-cache").write_bytes(b"x" * 100)
    os.utime(tmp_path / f"old{ending}", (2_000_000, 1_000_000))  # written early, read last
    keras_backend.trim_program_cache(tmp_path, 25)
    assert sorted(path.name.removesuffix(ending) for path in tmp_path.iterdir()) == ["new", "notes-cache", "old"]
    keras_backend.trim_program_cache(tmp_path, 20)
    assert len(list(tmp_path.iterdir())) == 3


def test_programs_go_where_jax_was_told_or_into_the_project(tmp_path, monkeypatch, jax_backend, programs):
    import jax

    for told, expected in ((str(tmp_path / "shared"), tmp_path / "shared"), (None, tmp_path / "project" / "jax")):
        if told:
            monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", told)
        else:
            monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        keras_backend.start("jax", tmp_path / "project")
        assert jax.config.jax_compilation_cache_dir == str(expected)
    monkeypatch.undo()
    keras_backend.start("jax", programs)


def test_tensorflow_is_required_only_for_its_backend(monkeypatch):
    keras_backend.require_backend("tensorflow")  # the tests have it
    monkeypatch.setattr(sys, "path", [])
    keras_backend.require_backend("jax")
    with pytest.raises(ConfigError, match=r"^--backend tensorflow: .* run: pip install 'gridcast\[tensorflow\]'$"):
        keras_backend.require_backend("tensorflow")
