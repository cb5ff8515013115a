"""Gradient-boosted trees as plain arrays, which need no scikit-learn and no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TreeArrays:
    """The nodes of all trees, one after the other; `roots` (trees,) is the first of each.

    Of each node (nodes,): the `feature` that it splits by (-1: it is a leaf), the `threshold` up to which rows go to
    the node `left`, the others to `right`, whether those without a value go left (`missing_left`), and the `value` that
    a leaf adds. The prediction starts from `base` (1,).
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    base: np.ndarray

    @classmethod
    def of(cls, regressor: Any) -> TreeArrays:
        """Return the trees of a fitted HistGradientBoostingRegressor without categorical features."""
        trees = [stage[0].nodes for stage in regressor._predictors]
        roots = np.cumsum([0, *(len(tree) for tree in trees)])[:-1]
        nodes = np.concatenate(trees)
        offset = np.repeat(roots, [len(tree) for tree in trees])
        return cls(
            roots=roots,
            feature=np.where(nodes["is_leaf"], -1, nodes["feature_idx"].astype(int)),
            threshold=nodes["num_threshold"],
            left=nodes["left"] + offset,
            right=nodes["right"] + offset,
            missing_left=nodes["missing_go_to_left"].astype(bool),
            value=nodes["value"],
            base=np.ravel(regressor._baseline_prediction),
        )

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> TreeArrays:
        """Return the trees whose arrays have these names after the `prefix`."""
        return cls(**{name: arrays[prefix + name] for name in cls.__dataclass_fields__})

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the sum of all trees (n,) for `rows` (n, features), NaN where a feature has no value."""
        rows, everyone = np.asarray(rows, float), np.arange(len(rows))
        total = np.full(len(rows), float(self.base[0]))
        for root in self.roots:
            node = np.full(len(rows), root)
            inside = everyone if self.feature[root] >= 0 else everyone[:0]
            while len(inside):
                at = node[inside]
                values = rows[inside, self.feature[at]]
                goes_left = np.where(np.isnan(values), self.missing_left[at], values <= self.threshold[at])
                node[inside] = np.where(goes_left, self.left[at], self.right[at])
                inside = inside[self.feature[node[inside]] >= 0]
            total += self.value[node]
        return total
