"""The inputs of a network, by name, from the channels of a panel."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import lag_features, windows
from .preprocessing import Preprocessing


def network_inputs(
    preprocessing: Preprocessing, channels: Any, index: Any, series: Any, *, arrays: Any = np
) -> dict[str, Any]:
    """Return the inputs of the network for each window of `index` (n, 2), by their names in the network.

    `channels` is (rows, steps, channels); `series` (rows,) gives the code of the series in each row.
    `arrays` is the library that all of them belong to: numpy, or jax.numpy inside a compiled program.
    """
    codes, first_known = series[index[:, 0]], preprocessing.first_known_ahead
    inputs: dict[str, Any] = {}
    if preprocessing.lags:
        settings = lag_features.LagSettings(
            preprocessing.lookback, preprocessing.horizon, preprocessing.lags, first_known, preprocessing.centred
        )
        scales = arrays.asarray(preprocessing.relative_scales, np.float32)[codes]
        inputs["signal"] = lag_features.lagged_inputs(channels, index, settings, relative_scales=scales, arrays=arrays)
    else:
        inputs["history"] = windows.past(channels, index, preprocessing.lookback)
        if channels.shape[2] > first_known:
            inputs["ahead"] = windows.future(channels[:, :, first_known:], index, preprocessing.horizon)
    if len(preprocessing.series) > 1 and not preprocessing.lags:
        inputs["series"] = codes.astype(np.int32)
    if preprocessing.static and preprocessing.static[0]:
        inputs["static"] = arrays.asarray(preprocessing.static, np.int32)[codes]
    return inputs
