"""How many sibling runs train abreast, in one compiled program."""

from __future__ import annotations

from gridcast.config import Configuration

CPU, SMALL = 4, 16
"""Lanes of networks of so many units at most: from 32 on, what four or two gain is less than what idle lanes cost."""
GPU = 32


def lanes(configuration: Configuration, siblings: int, *, gpu: bool) -> int:
    """Lanes for so many siblings; the last bits of their weights follow from it.

    The numbers are those of benchmarks/fused.py. They hang on nothing that is measured in the sweep:
    a run gives the same bits whenever and beside whomever it is trained.
    """
    if gpu:
        return min(siblings, GPU)
    return min(siblings, CPU) if configuration.units <= SMALL else 1
