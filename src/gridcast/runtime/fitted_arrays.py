"""The file of the arrays that a baseline or a simple detector was fitted to, in a model in place of a network."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the file of `arrays` by name: the same for the same arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def from_bytes(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays that `to_bytes` was given. Nothing in the file is run."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)
