"""From the output of a probabilistic network to quantiles in data units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .conformal import ConformalCorrection
from .interpolated_levels import at_levels
from .likelihoods import LIKELIHOODS, QUANTILE, increasing_quantiles
from .sampling import sample_paths
from .windows import WindowInputs


@dataclass(frozen=True)
class Quantiles:
    """How a network's output becomes quantiles.

    `likelihood` is a key of LIKELIHOODS, whose quantiles are those of `paths` sample paths, or QUANTILE, where the
    network outputs the quantiles themselves. `levels` are reported by default. `correction` is applied to both.
    Afterwards none is below `floor`, in data units, if there is one; nor are sample paths.
    """

    likelihood: str
    levels: tuple[float, ...]
    paths: int
    correction: ConformalCorrection | None = None
    floor: float | None = None

    @property
    def sampled(self) -> bool:
        """Whether quantiles are those of sample paths, which may be of any length."""
        return self.likelihood != QUANTILE

    def compute(self, network: Any, windows: WindowInputs, levels: Sequence[float], seed: int) -> np.ndarray:
        """Return quantiles (n, horizon, levels) of n windows in data units, corrected, none crossing another.

        Raises DataError for a level outside of those that a network without samples was trained for.
        """
        if self.sampled:
            return self.of_samples(self.draw(network, windows, seed), windows.scale, levels)
        ascending = sorted(set(levels))
        values = self._network_quantiles(network, windows, ascending) + windows.centre[:, None, None]
        return self._corrected(values, ascending, windows.scale)[..., np.searchsorted(ascending, levels)]

    def of_samples(self, paths: np.ndarray, scale: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """Return the same quantiles of sample `paths` (n, paths, horizon), see `draw`; `scale` (n,) in data units."""
        ascending = sorted(set(levels))
        values = np.moveaxis(np.quantile(paths, ascending, axis=1), 0, 2)
        values = self._corrected(values, ascending, scale)
        if LIKELIHOODS[self.likelihood].counts:
            values = np.maximum(values, 0.0)
        return values[..., np.searchsorted(ascending, levels)]

    def draw(self, network: Any, windows: WindowInputs, seed: int) -> np.ndarray:
        """Return sample paths (n, paths, horizon) of n windows in data units, not corrected."""
        paths = sample_paths(network, LIKELIHOODS[self.likelihood], windows, count=self.paths, seed=seed)
        return self._floored(paths + windows.centre[:, None, None])

    def _corrected(self, values: np.ndarray, levels: Sequence[float], scale: np.ndarray) -> np.ndarray:
        """The quantiles after the correction, none of them below the floor."""
        return self._floored(values if self.correction is None else self.correction.apply(values, levels, scale))

    def _floored(self, values: np.ndarray) -> np.ndarray:
        return values if self.floor is None else np.maximum(values, self.floor)

    def _network_quantiles(self, network: Any, windows: WindowInputs, levels: Sequence[float]) -> np.ndarray:
        """Quantiles (n, horizon, levels) around the windows' centres, interpolated between those of training."""
        raw = np.asarray(network.predict_on_batch(dict(windows.arrays)), float)
        values = increasing_quantiles(raw, np) * windows.scale[:, None, None]
        return at_levels(values, trained_levels(self.levels), levels)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        correction = None if self.correction is None else vars(self.correction)
        return {**vars(self), "correction": correction}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Quantiles:
        """Return the quantiles that `to_json` gave."""
        stored = content["correction"]
        correction = stored and ConformalCorrection(tuple(stored["levels"]), tuple(map(tuple, stored["offsets"])))
        return cls(content["likelihood"], tuple(content["levels"]), content["paths"], correction, content.get("floor"))


def trained_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return the levels that a network with quantile output is trained for: `levels` and the median, ascending."""
    return tuple(sorted({*levels, 0.5}))
