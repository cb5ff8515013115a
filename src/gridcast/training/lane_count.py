"""How many sibling runs train abreast, in one compiled program."""

from __future__ import annotations

from gridcast.config import Configuration

MAX_CPU_LANES = 4
"""Most lanes on a CPU."""
MAX_UNITS_IN_LANES = 16
"""Most units of a network that trains in several lanes on a CPU: from 32 units on, idle lanes cost more than is gained."""
MAX_GPU_LANES = 32
"""Most lanes on a GPU."""


def lane_count(configuration: Configuration, siblings: int, *, gpu: bool) -> int:
    """Lanes for so many siblings; the last bits of their weights follow from it.

    The numbers are those of benchmarks/fused.py. They hang on nothing that is measured in the sweep:
    a run gives the same bits whenever and beside whomever it is trained.
    """
    if gpu:
        return min(siblings, MAX_GPU_LANES)
    return min(siblings, MAX_CPU_LANES) if configuration.units <= MAX_UNITS_IN_LANES else 1
