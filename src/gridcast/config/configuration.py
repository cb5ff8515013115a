"""The settings of one network, each of which can be an axis of the grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from gridcast.config.keras_names import LOSSES, OPTIMIZERS, loss_text, optimizer_text
from gridcast.config.section import Section

RECURRENT_LAYERS = ("GRU", "LSTM")
"""The recurrent networks, values of the axis `layer`."""
DIRECT_LAYERS = ("linear", "nhits")
"""Networks that forecast the whole horizon at once from the past of the target, see `models.direct`."""
BUILT_IN_LAYERS = RECURRENT_LAYERS + DIRECT_LAYERS
"""The networks that gridcast has; others are plug-ins."""


def _named(names: Iterable[str]) -> WithJsonSchema:
    """The JSON schema of one of `names`, or of a mapping with its settings."""
    name = {"enum": list(names)}
    mapping = {"type": "object", "properties": {"name": name}, "required": ["name"]}
    return WithJsonSchema({"anyOf": [name, mapping]})


Optimizer = Annotated[str, BeforeValidator(optimizer_text), _named(OPTIMIZERS)]
Loss = Annotated[str, BeforeValidator(loss_text), _named(LOSSES)]


class Configuration(Section):
    """The settings of one network: each of them can be an axis of the grid.

    `layer` is GRU, LSTM, linear, nhits or the name of a plug-in, whose own settings stand here too (see
    `config.plugins`). `bidirectional` and `attention` are of recurrent networks alone, and False for others; `layers`
    is 1 for linear.

    `likelihood` belongs to task: probabilistic: the distribution of each step, whose samples are the forecast, or
    `quantile`, where the network outputs all levels of all steps at once.

    `scaling` is how windows are read. Point forecasters: `none`, as they are; `mean`, in units of their level; `last`,
    as changes from their last value, and `standard`, around their mean, in units of their spread. Probabilistic:
    `standard`, or `mean`, the only one for counts. Detectors: `none`; `centred`, around their mean, so that an unseen
    level is not anomalous, but a change of level is; `standard`, in units of their spread too, so that an unseen
    volatility is not anomalous either.

    `detector` and `latent` belong to task: anomaly. The network reconstructs a window, predicts the step after it, or
    does both, and is scored by its errors; with `encoding` it does both, and is scored by the encoding of a window
    first. `latent` is the size of that encoding.

    `epochs` are those of the configuration where they are an axis, else `training.epochs`.
    """

    model_config = ConfigDict(extra="allow")

    layer: Annotated[str, Field(json_schema_extra={"examples": list(BUILT_IN_LAYERS)})] = "LSTM"
    bidirectional: bool = False
    attention: bool = False
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    units: Annotated[int, Field(ge=1, le=4096)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    lookback: Annotated[int, Field(ge=1, le=1_000_000)]
    optimizer: Optimizer = "adam"
    loss: Loss = "mse"
    likelihood: Literal["student-t", "gaussian", "negative-binomial", "quantile"] | None = None
    scaling: Literal["standard", "mean", "none", "centred", "last"] | None = None
    detector: Literal["reconstruction", "prediction", "both", "encoding"] | None = None
    latent: Annotated[int, Field(ge=1, le=4096)] | None = None
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @property
    def centred(self) -> bool:
        """Whether windows are read around their mean: never for a point forecast, nor for counts, where 0 is fixed."""
        if self.detector is not None:
            return self.scaling in ("centred", "standard")
        return self.likelihood not in (None, "negative-binomial") and self.scaling != "mean"

    @property
    def window_scaling(self) -> str:
        """How a point forecaster reads windows: `none`, `mean`, `last` or `standard`; `none` for other networks."""
        is_point = self.likelihood is None and self.detector is None
        return self.scaling or "none" if is_point else "none"

    @property
    def is_plugin(self) -> bool:
        """Whether the network is a plug-in, not one of gridcast's own."""
        return self.layer not in BUILT_IN_LAYERS

    @property
    def is_direct(self) -> bool:
        """Whether the network forecasts the whole horizon at once from the past of the target."""
        return self.layer in DIRECT_LAYERS

    def value(self, axis: str) -> Any:
        """Return the value of an axis; None of one that the layer does not have."""
        return getattr(self, axis, None)

    @property
    def own(self) -> dict[str, Any]:
        """The settings that only this `layer` has, a plug-in."""
        return dict(self.model_extra or {})

    def settings(self) -> dict[str, Any]:
        """Return the settings by name, without those that do not apply."""
        return self.model_dump(exclude_none=True)


AXES = tuple(Configuration.model_fields)
"""Names of the settings that can be axes of the grid."""
