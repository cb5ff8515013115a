"""The winner's training on the training and validation spans together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from gridcast.data.dataset import Dataset
from gridcast.runtime.model_files import SETTINGS_FILE


def refit_dataset(dataset: Dataset) -> Dataset:
    """Return `dataset` with its validation span trained on, too.

    Nothing is left to stop early by: a run takes all its epochs, as many as were best before.
    """
    training = dataset.training.model_copy(update={"patience": 10**9})
    return replace(dataset, is_refit=True, training=training)


def with_quantiles_of(files: Mapping[str, bytes], original: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the `files` of a refitted network with the correction of quantiles of the `original` one.

    It was fitted to steps that the network had not seen; now there are none.
    """
    content, before = (json.loads(one[SETTINGS_FILE]) for one in (files, original))
    if "quantiles" in before:
        content["quantiles"] = before["quantiles"]
    return {**files, SETTINGS_FILE: json.dumps(content).encode()}
