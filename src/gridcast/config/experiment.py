"""The whole experiment: its sections, and what they ask of each other."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from gridcast.config.error_messages import explain
from gridcast.config.sections import (
    AXES,
    SENSOR_DEFAULTS,
    Anomaly,
    Columns,
    Configuration,
    Data,
    Name,
    Probabilistic,
    Search,
    Section,
    Selection,
    Split,
    Training,
    Transform,
    Window,
)
from gridcast.runtime.errors import suggest


class Experiment(Section):
    """One YAML file in `experiments/`, and the MLflow experiment of the same name."""

    version: Literal[1]
    name: Name
    data: Data
    task: Literal["forecast", "probabilistic", "anomaly"] = "forecast"
    mode: Literal["global", "local", "auto"] = "global"
    window: Window
    split: Split = Split()
    transform: Transform = Transform()
    baseline: dict[str, Any] = Field(default_factory=dict)
    baselines: Annotated[Columns, Field(strict=False, min_length=1)] = ("auto",)
    grid: Annotated[tuple[dict[str, tuple[Any, ...]], ...], Field(strict=False)] = ({},)
    training: Training = Training()
    probabilistic: Probabilistic = Probabilistic()
    anomaly: Anomaly = Anomaly()
    search: Search = Search()
    selection: Selection = Selection()

    @model_validator(mode="before")
    @classmethod
    def _by_task(cls, content: object) -> object:
        """What a task has of its own, unless the file says otherwise, which is then refused where it cannot be."""
        if not isinstance(content, dict):
            return content
        task = content.get("task")
        own: dict[str, dict[str, Any]] = {
            "probabilistic": {"transform": {"scale": "mean-abs"}},
            "anomaly": {"transform": {"scale": "standard"}, "data": SENSOR_DEFAULTS},
        }.get(str(task), {})
        if task == "anomaly" and isinstance(data := content.get("data"), dict):
            for field in ("target", "series", "past", "future", "static", "static_source"):
                if field in data:
                    raise ValueError(
                        f"data.{field}: means nothing under task: anomaly, which reads a column for each sensor; name "
                        "them in data.sensors"
                    )
        for section, defaults in own.items():
            given = content.get(section, {})
            if isinstance(given, dict):
                content = content | {section: defaults | given}
        return content

    @field_validator("grid", mode="before")
    @classmethod
    def _united(cls, value: object) -> object:
        grids: list[Any] = value if isinstance(value, list) else [value]
        for number, grid in enumerate(grids):
            where = f"grid[{number}]" if isinstance(value, list) else "grid"
            if not isinstance(grid, dict):
                raise ValueError(f"{where}: expected axes with lists of values, got {grid!r}")
            for axis, values in grid.items():
                _axis(f"{where}.{axis}", axis)
                if not isinstance(values, list) or not values:
                    remedy = "give one at least" if values == [] else f"write [{values}]"
                    raise ValueError(f"{where}.{axis}: expected a list of values, got {values!r}; {remedy}")
                for position, item in enumerate(values):
                    _setting(f"{where}.{axis}[{position}]", axis, item)
        return [{axis: tuple(values) for axis, values in grid.items()} for grid in grids]

    @field_validator("baselines", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("baseline", mode="before")
    @classmethod
    def _known_settings(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise ValueError(f"baseline: expected settings, got {value!r}")
        for axis, item in value.items():
            _axis(f"baseline.{axis}", axis)
            _setting(f"baseline.{axis}", axis, item)
        return value

    @model_validator(mode="after")
    def _comparable(self) -> Experiment:
        unsaid = self.baseline.get("loss", self.training.loss)
        losses = {value for grid in self.grid for value in grid.get("loss", (unsaid,))}
        if len(losses) > 1 and self.selection.metric == "best_val_loss":
            raise ValueError(
                "selection.metric: best_val_loss cannot compare runs trained on different losses "
                f"({', '.join(sorted(losses))}); write best_val_mae"
            )
        return self

    def values(self, axis: str) -> set[Any]:
        """Every value that `axis` takes in some configuration of the grid or in the own settings."""
        own = getattr(self.configuration(), axis)
        return {own, *(value for grid in self.grid for value in grid.get(axis, (own,)))}

    @model_validator(mode="after")
    def _fits_its_task(self) -> Experiment:
        if self.task == "anomaly":
            return self._fits_sensors()
        likelihoods = self.values("likelihood")
        for axis in ("detector", "latent"):
            if self.values(axis) != {None}:
                raise ValueError(f"{axis}: means nothing under task: {self.task}; write task: anomaly")
        for field, given in (("sensors", self.data.sensors), ("labels", self.data.labels)):
            if given is not None:
                raise ValueError(f"data.{field}: means nothing under task: {self.task}; write task: anomaly")
        if self.data.gaps == "keep":
            raise ValueError(f"data.gaps: keep is that of task: anomaly (got task: {self.task})")
        if self.selection.metric.startswith("val_"):
            raise ValueError(f"selection.metric: {self.selection.metric} is that of task: anomaly")
        if self.task == "forecast":
            for axis in ("likelihood", "scaling"):
                if self.values(axis) != {None}:
                    raise ValueError(f"{axis}: means nothing under task: forecast; write task: probabilistic")
            if self.selection.metric == "best_val_wql":
                raise ValueError("selection.metric: best_val_wql is that of task: probabilistic")
            return self
        if unknown := self.values("scaling") - {None, "standard", "mean"}:
            raise ValueError(
                f"scaling: is standard or mean under task: probabilistic (got {', '.join(map(str, unknown))})"
            )
        if self.mode != "global":
            raise ValueError(
                f"mode: task: probabilistic trains one network for all series (got {self.mode}); write global"
            )
        for axis, plain in (("bidirectional", False), ("attention", False), ("loss", "mse")):
            if self.values(axis) != {plain}:
                told = "its likelihood is its loss" if axis == "loss" else "its network goes on step by step"
                raise ValueError(f"{axis}: means nothing under task: probabilistic, for {told}; leave it out")
        own = self.configuration()
        if any(
            "negative-binomial" in grid.get("likelihood", (own.likelihood,))
            and "standard" in grid.get("scaling", (own.scaling,))
            for grid in self.grid
        ):
            raise ValueError(
                "scaling: standard moves the zero that likelihood: negative-binomial counts from; leave it out, or "
                "write mean"
            )
        if self.transform.scale != "mean-abs" or self.transform.log1p:
            raise ValueError(
                "transform: task: probabilistic wants {scale: mean-abs, log1p: false}, for a likelihood "
                f"scales by itself (got scale: {self.transform.scale}, log1p: {str(self.transform.log1p).lower()}); "
                "leave it out"
            )
        if "quantile" in likelihoods and len(likelihoods) > 1 and self.selection.metric == "best_val_loss":
            raise ValueError(
                "selection.metric: best_val_loss cannot compare quantiles with likelihoods "
                f"({', '.join(sorted(map(str, likelihoods)))}); write best_val_wql"
            )
        return self

    def _fits_sensors(self) -> Experiment:
        """What task: anomaly cannot do, or has no use for."""
        if self.values("likelihood") != {None}:
            raise ValueError("likelihood: means nothing under task: anomaly; write task: probabilistic")
        scalings = self.values("scaling")
        if unknown := scalings - {"none", "centred", "standard"}:
            given = ", ".join(map(str, unknown))
            raise ValueError(f"scaling: is none, centred or standard under task: anomaly (got {given})")
        if (centred := scalings - {"none"}) and 1 in self.values("lookback"):
            told = ", ".join(sorted(map(str, centred)))
            raise ValueError(f"scaling: {told} leaves nothing of windows of one step; write none, or look back more")
        combine = self.selection.ensemble.combine if self.selection.ensemble else "mean"
        if self.values("loss") != {"mse"}:
            raise ValueError("loss: means nothing under task: anomaly, whose score is a squared error; leave it out")
        for where, value, wanted, why in (
            ("mode", self.mode, "global", "one network watches all sensors"),
            ("window.horizon", self.window.horizon, 1, "the step after a window is all that it predicts"),
            ("split.folds", self.split.folds, None, "its threshold belongs to one training span"),
            ("data.gaps", self.data.gaps, "keep", "a value that is made up is no error"),
            ("data.aggregate", self.data.aggregate, "none", "its steps are the rows of the table"),
            ("data.zero_runs", self.data.zero_runs, "none", "sensors are on no shelf"),
        ):
            if value != wanted:
                raise ValueError(f"{where}: must be left out under task: anomaly, for {why}")
        if self.selection.metric in ("best_val_mae", "best_val_wql"):
            raise ValueError(
                f"selection.metric: {self.selection.metric} means nothing under task: anomaly; write best_val_loss, "
                "val_faults_missed or val_false_alarms_per_day"
            )
        if combine not in ("mean", "minimum"):
            raise ValueError(
                "selection.ensemble.combine: scores are combined by their geometric mean or their minimum "
                f"(got {combine}); write mean or minimum"
            )
        if combine == "minimum" and self.anomaly.threshold == "running":
            raise ValueError(
                "selection.ensemble.combine: minimum goes by the thresholds of its members as they were taken, which "
                "anomaly.threshold: running is not; write mean, or another threshold"
            )
        own = self.configuration().detector
        detectors = {value for grid in self.grid for value in grid.get("detector", (own,))}
        if len(detectors) > 1 and self.selection.metric == "best_val_loss":
            raise ValueError(
                "selection.metric: best_val_loss cannot compare detectors that err on different things "
                f"({', '.join(sorted(map(str, detectors)))}); write val_faults_missed"
            )
        if "standard" in scalings and len(scalings) > 1 and self.selection.metric == "best_val_loss":
            raise ValueError(
                "selection.metric: best_val_loss cannot compare errors in units of windows with others (scaling: "
                f"{', '.join(sorted(map(str, scalings)))}); write val_faults_missed"
            )
        return self

    @model_validator(mode="after")
    def _one_for_all(self) -> Experiment:
        combine = self.selection.ensemble and self.selection.ensemble.combine
        if combine == "minimum" and self.task != "anomaly":
            raise ValueError(
                "selection.ensemble.combine: the minimum of scores is for task: anomaly, and this is task: "
                f"{self.task}; write mean, median or weighted"
            )
        if self.selection.ensemble is not None and self.mode != "global":
            raise ValueError(
                f"selection.ensemble: combines networks of all series, and mode: {self.mode} chooses one for each; "
                "write mode: global, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _rolling(self) -> Experiment:
        own, needed = self.split.horizon, self.window.horizon
        if own is not None and own % needed:
            raise ValueError(f"split.horizon: must be a multiple of window.horizon ({needed}), got {own}")
        if self.search.strategy != "grid" and (self.mode != "global" or self.split.folds):
            told = f"mode: {self.mode}" if self.mode != "global" else "folds"
            raise ValueError(
                f"search.strategy: {self.search.strategy} compares runs by their losses, and with {told} those of "
                "different series or folds do not compare; write strategy: grid"
            )
        return self

    @property
    def fold_steps(self) -> int:
        """Steps of each fold's validation, and of the test span, where there are folds."""
        return self.split.horizon or self.window.horizon

    def configuration(self, **settings: Any) -> Configuration:
        """The experiment's own `baseline` with `settings` in place of its values."""
        own: dict[str, Any] = {"lookback": self.window.lookback, "loss": self.training.loss}
        if self.task == "probabilistic":
            own["likelihood"] = "student-t"
        if self.task == "anomaly":
            own |= {"detector": "reconstruction", "latent": 8, "scaling": "none"}
        return Configuration(**(own | self.baseline | settings))


def _axis(where: str, axis: object) -> None:
    if axis not in AXES:
        raise ValueError(f"{where}: unknown key{suggest(str(axis), AXES)} (allowed: {', '.join(AXES)})")


def _setting(where: str, axis: str, value: object) -> None:
    lookback = {} if axis == "lookback" else {"lookback": 1}
    try:
        Configuration.model_validate({**lookback, axis: value})
    except ValidationError as error:
        raise ValueError(f"{where}: {explain(error.errors()[0], Configuration)}") from None
