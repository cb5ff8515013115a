"""From a network's answer to quantiles in data units: those of samples, or the answer itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .conformal import ConformalCorrection
from .errors import DataError
from .likelihoods import LIKELIHOODS, QUANTILE, increasing_quantiles
from .sampling import sample_paths


@dataclass(frozen=True)
class Quantiles:
    """How a network's answer is read: its likelihood, the levels told unasked, the paths drawn, the correction."""

    likelihood: str
    levels: tuple[float, ...]
    paths: int
    correction: ConformalCorrection | None = None

    @property
    def sampled(self) -> bool:
        """Whether quantiles are those of sample paths, which may be of any length."""
        return self.likelihood != QUANTILE

    def of(
        self,
        network: Any,
        read: Mapping[str, np.ndarray],
        centre: np.ndarray,
        scale: np.ndarray,
        lags: tuple[int, ...],
        lookback: int,
        levels: Sequence[float],
        seed: int,
    ) -> np.ndarray:
        """Quantiles (n, horizon, levels) of the windows whose inputs are `read`, corrected and in order.

        `centre` and `scale` (n,) are the units of each window, in data units. Raises DataError for a level that a
        network which answers with quantiles was not trained for.
        """
        if self.sampled:
            return self.of_samples(self.samples(network, read, centre, scale, lags, lookback, seed), scale, levels)
        wanted = sorted(set(levels))
        found = self._read_off(network, read, scale, wanted) + centre[:, None, None]
        return self._corrected(found, wanted, scale)[..., np.searchsorted(wanted, levels)]

    def of_samples(self, drawn: np.ndarray, scale: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """The same of sample paths that are `drawn` already, see `samples`."""
        wanted = sorted(set(levels))
        found = self._corrected(np.moveaxis(np.quantile(drawn, wanted, axis=1), 0, 2), wanted, scale)
        if LIKELIHOODS[self.likelihood].counts:
            found = np.maximum(found, 0.0)
        return found[..., np.searchsorted(wanted, levels)]

    def _corrected(self, found: np.ndarray, levels: Sequence[float], scale: np.ndarray) -> np.ndarray:
        return found if self.correction is None else self.correction.apply(found, levels, scale)

    def samples(
        self,
        network: Any,
        read: Mapping[str, np.ndarray],
        centre: np.ndarray,
        scale: np.ndarray,
        lags: tuple[int, ...],
        lookback: int,
        seed: int,
    ) -> np.ndarray:
        """Sample paths (n, paths, horizon) of the same windows, in data units, not corrected."""
        family = LIKELIHOODS[self.likelihood]
        drawn = sample_paths(network, family, read, scale, lags, lookback, self.paths, seed)
        return drawn + centre[:, None, None]

    def _read_off(
        self, network: Any, read: Mapping[str, np.ndarray], scale: np.ndarray, levels: Sequence[float]
    ) -> np.ndarray:
        known = trained_levels(self.levels)
        for level in levels:
            if not known[0] <= level <= known[-1]:
                raise DataError(
                    f"quantiles: {level:g} is outside of what the model was trained for ({known[0]:g} to {known[-1]:g})"
                )
        given = increasing_quantiles(np.asarray(network.predict_on_batch(dict(read)), float), np) * scale[:, None, None]
        at = np.interp(levels, known, np.arange(len(known)))
        below = np.minimum(at.astype(int), max(len(known) - 2, 0))
        above = np.minimum(below + 1, len(known) - 1)
        return given[..., below] + (at - below) * (given[..., above] - given[..., below])

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        correction = None if self.correction is None else vars(self.correction)
        return {**vars(self), "correction": correction}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Quantiles:
        """The reverse of `to_json`."""
        kept = content["correction"]
        correction = kept and ConformalCorrection(tuple(kept["levels"]), tuple(map(tuple, kept["offsets"])))
        return cls(content["likelihood"], tuple(content["levels"]), content["paths"], correction)


def trained_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """The levels that a network is trained for which answers with quantiles: `levels` and the median."""
    return tuple(sorted({*levels, 0.5}))
