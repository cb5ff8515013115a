"""The whole experiment: its sections, and the rules between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gridcast.config.configuration import AXES, Configuration
from gridcast.config.error_messages import Shown
from gridcast.config.false_alarms import with_merged_windows
from gridcast.config.grid_values import check_axis_values, checked_setting, checked_values, item_place
from gridcast.config.layer_settings import (
    check_axis,
    check_direct_layers,
    check_layer,
    check_layer_axes,
    settings_of_layer,
)
from gridcast.config.plugins import NO_PLUGINS, Plugin, Plugins
from gridcast.config.ranges import Range, check_ranges, values_of
from gridcast.config.search_settings import Search
from gridcast.config.section import Section
from gridcast.config.sections import (
    MAX_LISTED,
    SENSOR_DEFAULTS,
    Anomaly,
    Data,
    Name,
    Probabilistic,
    Selection,
    Split,
    Training,
    Transform,
    Window,
)
from gridcast.config.selection_metrics import EARLY_STRATEGIES, VARIED_FAULTS, check_metric
from gridcast.config.table_settings import Columns
from gridcast.config.task_rules import check_fields
from gridcast.config.threshold_rules import RUNNING
from gridcast.runtime.errors import suggest

TASK_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "probabilistic": {"transform": {"scale": "mean-abs"}},
    "anomaly": {"transform": {"scale": "standard"}, "data": SENSOR_DEFAULTS},
}
"""Defaults of sections that differ between tasks."""
PLUGINS = "plugins"
"""Key of the validation context with the plug-ins that the experiment may name."""
NOT_OF_SENSORS = ("target", "series", "past", "future", "static", "static_source")
"""Keys of `data` that describe a table with a column of targets, not one with a column for each sensor."""


def _whole(value: object) -> object:
    """The value, and for a number that equals 1 without being an integer a text, which is refused."""
    return value if type(value) is int else repr(value)


class Experiment(Section):
    """One YAML file in `experiments/`, and the MLflow experiment of the same name.

    >>> sales = {"source": "sales.csv", "time": "date", "series": "product", "target": "quantity"}
    >>> window = {"lookback": 7, "horizon": 2}
    >>> experiment = gridcast.Experiment(version=1, name="shop", data=sales, window=window)
    >>> experiment.configuration().layer
    'LSTM'
    """

    version: Annotated[Literal[1], BeforeValidator(_whole)]
    name: Name
    data: Data
    task: Literal["forecast", "probabilistic", "anomaly"] = "forecast"
    mode: Literal["global", "local", "auto"] = "global"
    window: Window
    split: Split = Split()
    transform: Transform = Transform()
    baseline: dict[str, Any] = Field(default_factory=dict)
    baselines: Annotated[Columns, Field(strict=False, min_length=1, max_length=MAX_LISTED)] = ("auto",)
    grid: Annotated[tuple[dict[str, tuple[Any, ...] | Range], ...], Field(strict=False)] = ({},)
    training: Training = Training()
    probabilistic: Probabilistic = Probabilistic()
    anomaly: Anomaly = Anomaly()
    search: Search = Search()
    selection: Selection = Selection()
    _plugins: Plugins = PrivateAttr(default=NO_PLUGINS)

    def model_post_init(self, context: Any) -> None:
        """Keep the plug-ins of the validation context."""
        self._plugins = _plugins_of(context)

    @property
    def plugins(self) -> Plugins:
        """The plug-ins that the experiment may name."""
        return self._plugins

    @property
    def callbacks(self) -> tuple[Plugin, ...]:
        """The plug-ins that Keras calls in each run; none in an experiment that is only read."""
        available = self.plugins.callbacks
        return tuple(available[name] for name in self.training.callbacks if name in available)

    @property
    def fold_steps(self) -> int:
        """Steps of each fold's validation, and of the test span, where there are folds."""
        return self.split.horizon or self.window.horizon

    def configuration(self, **settings: Any) -> Configuration:
        """Return the configuration of `baseline`, with `settings` in place of its values."""
        defaults: dict[str, Any] = {"lookback": self.window.lookback, "loss": self.training.loss}
        if self.task == "probabilistic":
            defaults["likelihood"] = "student-t"
        if any("epochs" in grid for grid in self.grid):
            defaults["epochs"] = self.training.epochs
        if self.task == "forecast" and any("scaling" in grid for grid in self.grid):
            defaults["scaling"] = "none"
        if self.task == "anomaly":
            defaults |= {"detector": "reconstruction", "latent": 8, "scaling": "none"}
        return Configuration(**settings_of_layer(defaults | self.baseline | settings, self.plugins))

    @property
    def own_axes(self) -> tuple[str, ...]:
        """The settings that only some plug-in among the layers has."""
        layers = self.axis_values("layer")
        return tuple(dict.fromkeys(axis for layer in layers for axis in self.plugins.of_layer(layer)))

    def axis_values(self, axis: str) -> set[Any]:
        """Return every value that `axis` takes in `baseline` or in some configuration of the grid; ends of a range."""
        default = getattr(self.configuration(), axis)
        return {default, *self.trained_values(axis)}

    def field_values(self, field: str) -> set[Any]:
        """Return every value of an axis, or the one of a dotted path such as `data.gaps`; none in a missing section."""
        if field in AXES:
            return self.axis_values(field)
        value: Any = self
        for name in field.split("."):
            if value is None:
                return set()
            value = getattr(value, name)
        return {value}

    def trained_values(self, axis: str) -> set[Any]:
        """Return every value of `axis` that is trained: that of `baseline` only where some grid leaves the axis out.

        Of a range, its two ends.
        """
        if axis not in AXES:
            return self._trained_own_values(axis)
        default = getattr(self.configuration(), axis)
        return {value for grid in self.grid for value in values_of(grid.get(axis, (default,)))}

    @property
    def has_ranges(self) -> bool:
        """Whether an axis of the grid is a range, so that its runs are drawn instead of listed."""
        return any(isinstance(values, Range) for grid in self.grid for values in grid.values())

    def _trained_own_values(self, axis: str) -> set[Any]:
        layer = self.configuration().layer
        return {
            value
            for grid in self.grid
            for trained in values_of(grid.get("layer", (layer,)))
            if axis in (own := self.plugins.of_layer(trained))
            for value in values_of(grid.get(axis, (self.baseline.get(axis, own[axis]),)))
        }

    @model_validator(mode="before")
    @classmethod
    def _apply_task_defaults(cls, content: object) -> object:
        if not isinstance(content, dict):
            return content
        task = content.get("task")
        if task == "anomaly" and isinstance(data := content.get("data"), dict):
            for key in NOT_OF_SENSORS:
                if key in data:
                    raise ValueError(
                        f"data.{key}: not supported with task: anomaly, which reads a column for each sensor; name "
                        "them in data.sensors"
                    )
        for section, defaults in TASK_DEFAULTS.get(str(task), {}).items():
            values = content.get(section, {})
            if isinstance(values, dict):
                content = content | {section: defaults | values}
        return with_merged_windows(content)

    @field_validator("grid", mode="before")
    @classmethod
    def _check_grid(cls, value: object, info: ValidationInfo) -> object:
        plugins = _plugins_of(info.context)
        grids: list[Any] = value if isinstance(value, list) else [value]
        for number, grid in enumerate(grids):
            where = item_place(value, number)
            if not isinstance(grid, dict):
                raise ValueError(f"{where}: expected axes with lists of values, got {Shown(grid)!r}")
            # First the layers: the axis of a plug-in that is missing is not the fault.
            layers = grid.get("layer")
            for position, layer in enumerate(layers if isinstance(layers, list) else ()):
                check_layer(f"{where}.layer[{position}]", layer, plugins)
            for axis, values in grid.items():
                check_axis(f"{where}.{axis}", axis, plugins)
                check_axis_values(f"{where}.{axis}", values)
        return [
            {
                axis: checked_values(item_place(value, number, axis), axis, values, plugins)
                for axis, values in grid.items()
            }
            for number, grid in enumerate(grids)
        ]

    @field_validator("baselines", mode="before")
    @classmethod
    def _accept_one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("baseline", mode="before")
    @classmethod
    def _check_baseline(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, dict):
            raise ValueError(f"baseline: expected settings, got {Shown(value)!r}")
        plugins = _plugins_of(info.context)
        for axis in value:
            check_axis(f"baseline.{axis}", axis, plugins)
        return {axis: checked_setting(f"baseline.{axis}", axis, item, plugins) for axis, item in value.items()}

    @model_validator(mode="after")
    def _check_plugins(self) -> Experiment:
        check_layer_axes(self.grid, self.baseline, self.plugins)
        own = self.configuration()
        for grid in self.grid:
            layers, likelihoods = (values_of(grid.get(axis, (own.value(axis),))) for axis in ("layer", "likelihood"))
            check_direct_layers(self.task, layers, likelihoods)
        for position, name in enumerate(self.training.callbacks):
            allowed = self.plugins.callbacks
            if name not in allowed and not self.plugins.is_lenient:
                listed = f"allowed: {', '.join(allowed)}" if allowed else "there are none"
                raise ValueError(
                    f"training.callbacks[{position}]: {name!r} is no plug-in{suggest(name, allowed)} ({listed}); bring "
                    "it with --plugin FILE"
                )
        return self

    @model_validator(mode="after")
    def _check_task(self) -> Experiment:
        check_fields(self.task, self.field_values)
        if not self.plugins.is_lenient:
            check_metric(self.selection.metric, self.task, self.plugins.metrics)
        return self

    @model_validator(mode="after")
    def _check_comparability(self) -> Experiment:
        """Runs are ranked by one metric, which must mean the same in all of them."""
        if self.selection.metric != "best_val_loss":
            return self
        losses, detectors = self.trained_values("loss"), self.trained_values("detector")
        likelihoods, scalings = self.axis_values("likelihood"), self.axis_values("scaling")
        if self.task == "forecast" and len(losses) > 1:
            raise ValueError(
                f"selection.metric: best_val_loss cannot compare runs trained on different losses ({_listed(losses)}); "
                "write best_val_mae"
            )
        if "quantile" in likelihoods and len(likelihoods) > 1:
            raise ValueError(
                f"selection.metric: best_val_loss cannot compare quantiles with likelihoods ({_listed(likelihoods)}); "
                "write best_val_wql"
            )
        if len(detectors) > 1:
            raise ValueError(
                "selection.metric: best_val_loss cannot compare detectors whose errors mean different things "
                f"({_listed(detectors)}); write {VARIED_FAULTS}"
            )
        if self.task == "anomaly" and "standard" in scalings and len(scalings) > 1:
            raise ValueError(
                "selection.metric: best_val_loss cannot compare errors in units of windows with others (scaling: "
                f"{_listed(scalings)}); write {VARIED_FAULTS}"
            )
        return self

    @model_validator(mode="after")
    def _check_contenders(self) -> Experiment:
        """Networks and baselines are compared by a metric that both have."""
        if self.selection.contenders == "all" and self.selection.metric == "best_val_loss" and self.task != "forecast":
            metric = {"probabilistic": "best_val_wql", "anomaly": VARIED_FAULTS}[self.task]
            raise ValueError(
                "selection.metric: best_val_loss is the loss of networks, which baselines do not have, so with "
                f"contenders: all it cannot compare them; write {metric}"
            )
        return self

    @model_validator(mode="after")
    def _check_scaling(self) -> Experiment:
        centred = self.axis_values("scaling") - {"none"}
        centred -= {None}
        if self.task != "probabilistic" and centred and 1 in self.axis_values("lookback"):
            raise ValueError(f"scaling: {_listed(centred)} needs lookback > 1 (a one-step window minus its mean is 0)")
        if self.task == "forecast" and "mean" in centred and self.transform.scale in ("minmax", "standard"):
            raise ValueError(
                f"scaling: mean is in units of the level, and transform.scale: {self.transform.scale} moves the zero "
                "that it counts from; write transform: {scale: mean-abs}, or scaling: last or standard"
            )
        own = self.configuration()
        if any(
            "negative-binomial" in values_of(grid.get("likelihood", (own.likelihood,)))
            and "standard" in values_of(grid.get("scaling", (own.scaling,)))
            for grid in self.grid
        ):
            raise ValueError(
                "scaling: standard moves the zero that likelihood: negative-binomial counts from; remove it, or write "
                "mean"
            )
        return self

    @model_validator(mode="after")
    def _check_ensemble(self) -> Experiment:
        ensemble = self.selection.ensemble
        if ensemble is None:
            return self
        if ensemble.combine == "minimum" and self.anomaly.threshold == RUNNING:
            raise ValueError(
                "selection.ensemble.combine: minimum needs fixed thresholds of its members, which anomaly.threshold: "
                "running does not give; write mean, or another threshold"
            )
        if self.mode != "global":
            raise ValueError(
                f"selection.ensemble: combines networks of all series, and mode: {self.mode} chooses one for each; "
                "write mode: global, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _check_refit(self) -> Experiment:
        if self.training.refit and self.mode != "global":
            raise ValueError(
                f"training.refit: trains one winner again, and mode: {self.mode} has a model for each series; remove it"
            )
        return self

    @model_validator(mode="after")
    def _check_confirm(self) -> Experiment:
        if self.search.is_confirm_asked and self.search.confirm is not None and self.mode != "global":
            raise ValueError(
                f"search.confirm: further seeds for the leading configurations, but with mode: {self.mode} each series "
                "has its own; give more training.seeds, and remove it"
            )
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> Experiment:
        horizon, needed = self.split.horizon, self.window.horizon
        if horizon is not None and horizon % needed:
            raise ValueError(f"split.horizon: must be a multiple of window.horizon ({needed}), got {horizon}")
        if self.search.strategy != "grid" and (self.mode != "global" or self.split.folds):
            cause = f"mode: {self.mode}" if self.mode != "global" else "folds"
            raise ValueError(
                f"search.strategy: {self.search.strategy} compares runs by their losses, and with {cause} those of "
                "different series or folds do not compare; write strategy: grid"
            )
        return self

    @model_validator(mode="after")
    def _check_search_space(self) -> Experiment:
        check_ranges(self.grid, self.search.strategy)
        if self.search.strategy in EARLY_STRATEGIES and any("epochs" in grid for grid in self.grid):
            raise ValueError(
                f"grid.epochs: search.strategy: {self.search.strategy} decides itself how many epochs a run gets; "
                "remove the axis, or write search.strategy: grid, random or tpe"
            )
        return self


def _plugins_of(context: Any) -> Plugins:
    plugins: Plugins = (context or {}).get(PLUGINS, NO_PLUGINS)
    return plugins


def _listed(values: set[Any]) -> str:
    return ", ".join(sorted(map(str, values)))
