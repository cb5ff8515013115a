"""How many sibling runs train side by side in one compiled program."""

from __future__ import annotations

from gridcast.config import Configuration

MAX_CPU_LANES = 4
"""Most lanes on a CPU."""
MAX_UNITS_IN_LANES = 16
"""Most units of a network with several lanes on a CPU: from 32 on, idle lanes cost more than four or two gain."""
MAX_GPU_LANES = 32
"""Most lanes on a GPU."""


def lane_count(configuration: Configuration, siblings: int, *, gpu: bool) -> int:
    """Return the number of lanes for `siblings` runs; the last bits of their weights depend on it.

    The limits come from benchmarks/fused.py. Nothing that is measured in the sweep goes in: a run gives the same bits
    whenever it is trained, and with whichever siblings.
    """
    if configuration.is_plugin:  # its operations may be slow, or not exist, for several networks at once
        return 1
    if gpu:
        return min(siblings, MAX_GPU_LANES)
    return min(siblings, MAX_CPU_LANES) if configuration.units <= MAX_UNITS_IN_LANES else 1
