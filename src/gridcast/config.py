"""The experiment file, typed and frozen."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gridcast.errors import ConfigError, suggest

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Columns = tuple[str, ...]


class Section(BaseModel):
    """A part of the experiment file: no unknown keys, no change once read, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Select(Section):
    """Which part of the data is used; `top` ranks series by their total over the training span."""

    top: Annotated[int, Field(ge=1)] | None = None
    only: Annotated[Columns | None, Field(strict=False)] = None
    start: str | None = None
    end: str | None = None


class Data(Section):
    """Where the series come from and what their columns mean.

    `static_source` is a CSV file that brings the `static` columns, a row for each value of the
    `series` columns, where the table itself does not.
    `sensors` are the columns that task: anomaly watches, each a series; left empty, all that hold numbers.
    `labels` is a column in which 1 says that a step is anomalous, or a JSON file of such stretches, see `data.marked`;
    the test alone looks at them, or training too, to `omit` labelled steps in place of taking them for normal. Gaps
    that are to `keep` stay gaps.
    `aggregate` combines rows finer than `frequency` into one per series and period: the target by
    that rule, covariates by their mean. `exhibition` looks for stretches without exhibition, runs of
    zeros far longer than the habit of a series, and either leaves them out of training and
    validation (`mask`) or tells the network of them (`feature`).
    """

    source: str
    time: str
    series: Annotated[Columns, Field(strict=False)] = ()
    target: str
    sensors: Annotated[Columns | None, Field(strict=False)] = None
    labels: str | None = None
    labelled: Literal["learn", "omit"] = "learn"
    past: Annotated[Columns, Field(strict=False)] = ()
    future: Annotated[Columns, Field(strict=False)] = ()
    static: Annotated[Columns, Field(strict=False)] = ()
    static_source: str | None = None
    frequency: str = "D"
    period: Annotated[int, Field(ge=2)] | None = None
    calendar: Literal["observed", "regular"] = "observed"
    gaps: Literal["error", "zero", "ffill", "interpolate", "keep"] = "error"
    aggregate: Literal["none", "sum", "mean", "last"] = "none"
    exhibition: Literal["none", "mask", "feature"] = "none"
    dates: Literal["auto", "iso", "day-first", "month-first"] = "auto"
    constant: Literal["keep", "drop"] = "keep"
    select: Select = Select()

    @model_validator(mode="after")
    def _static_of_series(self) -> Data:
        if self.static_source is not None and not (self.static and self.series):
            raise ValueError(
                f"data.static_source: '{self.static_source}' brings static columns by series; "
                f"name them in data.{'series' if self.static else 'static'}, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _labelled_by_labels(self) -> Data:
        if self.labelled == "omit" and self.labels is None:
            raise ValueError("data.labelled: omit needs data.labels, which say which steps; name them, or leave it out")
        return self

    @field_validator("series", mode="before")
    @classmethod
    def _one_column(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Window(Section):
    """`lookback` steps in, `horizon` steps out, origins `stride` steps apart."""

    lookback: Annotated[int, Field(ge=1)]
    horizon: Annotated[int, Field(ge=1)] = 1
    stride: Annotated[int, Field(ge=1)] = 1


Share = Annotated[float, Field(gt=0, lt=1)]
Level = Annotated[float, Field(gt=0, lt=1)]


class Split(Section):
    """Chronological shares of the time axis; or, where `folds` are given, that many rolling origins.

    Each fold validates on `horizon` steps (default: those of the window), the next one on the steps
    after, and the last steps of all are the test span. `expanding` folds train on all steps before,
    others on as many as the first one has.
    """

    train: Share = 0.8
    validation: Share = 0.1
    test: Share = 0.1
    folds: Annotated[int, Field(ge=1)] | None = None
    horizon: Annotated[int, Field(ge=1)] | None = None
    expanding: bool = True

    @model_validator(mode="after")
    def _one_form(self) -> Split:
        shares, rolling = ({"train", "validation", "test"}, {"horizon", "expanding"})
        if self.folds is None and self.model_fields_set & rolling:
            raise ValueError("horizon and expanding belong to folds; write {folds: 4, horizon: 6}, or shares alone")
        if self.folds is not None and self.model_fields_set & shares:
            raise ValueError("takes shares (train, validation, test) or folds, not both; leave one of them out")
        return self

    @model_validator(mode="after")
    def _whole(self) -> Split:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"train + validation + test must be 1, they are {total:g}")
        return self


class Transform(Section):
    """How the target is brought to a range that networks like; fitted on the training span."""

    log1p: bool = False
    scale: Literal["minmax", "standard", "mean-abs", "none"] = "minmax"


class Configuration(Section):
    """The settings of one network: each of them can be an axis of the grid.

    `likelihood` is that of a probabilistic task alone: a distribution of each step, whose samples
    are its forecast, or `quantile`, all levels of all steps at once. So is `scaling`, in which its
    windows are read: `standard`, around their mean in units of their spread, or `mean`, in units
    of their level, which is all that counts know.
    `detector` and `latent` are those of task: anomaly: whether it rebuilds a window, predicts the step after
    it, or both, scored by its errors, or (`encoding`) does both, scored by what its encoder leaves of a window
    first; and how many numbers that is.
    """

    layer: Literal["GRU", "LSTM"] = "LSTM"
    bidirectional: bool = False
    attention: bool = False
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    units: Annotated[int, Field(ge=1, le=4096)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    lookback: Annotated[int, Field(ge=1)]
    optimizer: Literal["adam", "rmsprop"] = "adam"
    loss: Literal["mse", "mae", "huber"] = "mse"
    likelihood: Literal["student-t", "gaussian", "negative-binomial", "quantile"] | None = None
    scaling: Literal["standard", "mean"] | None = None
    detector: Literal["reconstruction", "prediction", "both", "encoding"] | None = None
    latent: Annotated[int, Field(ge=1, le=4096)] | None = None

    @property
    def centred(self) -> bool:
        """Whether windows are read around their means: not by a point forecast, nor where zero means something."""
        return self.likelihood not in (None, "negative-binomial") and self.scaling != "mean"

    def settings(self) -> dict[str, Any]:
        """Every setting that there is, by name."""
        return self.model_dump(exclude_none=True)


AXES = tuple(Configuration.model_fields)
SENSORS: dict[str, Any] = {
    "series": ["sensor"],
    "target": "value",
    "sensors": [],
    "calendar": "regular",
    "gaps": "keep",
}
"""How a table with a column for each sensor is read, unless the experiment file says otherwise."""


class Probabilistic(Section):
    """What a probabilistic forecast tells: these `quantiles`, from so many sample `paths`.

    With `conformal` they are widened or narrowed until they cover what they should on the
    validation span.
    """

    quantiles: Annotated[tuple[Level, ...], Field(strict=False, min_length=1)] = (0.1, 0.5, 0.9)
    paths: Annotated[int, Field(ge=2, le=10000)] = 200
    conformal: bool = True

    @field_validator("quantiles")
    @classmethod
    def _in_order(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"levels must grow, each given once (got {list(value)})")
        return value


class Anomaly(Section):
    """From which score on a step is anomalous: above the `threshold` of that name, see `anomaly.thresholds`.

    Its `level` counts deviations or is the share of false alarms. An event has `least` anomalous steps; those
    with at most `gap` steps between them are one.
    """

    threshold: str = "mean-std"
    level: float | None = None
    least: Annotated[int, Field(ge=1)] = 1
    gap: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _known(self) -> Anomaly:
        if not self.model_fields_set & {"threshold", "level"}:  # NumPy is not imported for what is known to be right
            return self
        from gridcast.anomaly.thresholds import checked

        try:
            checked(self.threshold, self.level)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class Training(Section):
    """How long and how often each configuration is trained.

    With `decay: cosine` the learning rate falls from its value to nothing over all `epochs`, epoch by epoch.
    `steps` bounds the batches of an epoch: each is then a fresh random part of the windows.
    `max_minutes` is the training time that one run may take, `retries` how often it is tried again
    where that can help, `checkpoint_seconds` how often its state is saved (0: after every epoch).
    `engine` is how runs train: `fused`, siblings abreast in one compiled program, or `stock` Keras,
    one by one; `auto` is fused where the backend can (JAX).
    """

    epochs: Annotated[int, Field(ge=1)] = 50
    steps: Annotated[int, Field(ge=1)] | None = None
    patience: Annotated[int, Field(ge=1)] = 10
    decay: Literal["none", "cosine"] = "none"
    loss: Literal["mse", "mae", "huber"] = "mse"
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(strict=False, min_length=1)] = (0,)
    engine: Literal["auto", "stock", "fused"] = "auto"
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0


class Budget(Section):
    """What a search may spend in all: so many `runs`, or so many `minutes` of each start."""

    runs: Annotated[int, Field(ge=1)] | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if (self.runs is None) == (self.minutes is None):
            raise ValueError("write one of runs and minutes, such as {runs: 50}")
        return self


class Search(Section):
    """Which part of the declared grid is trained.

    `grid` all of it; `random` and `tpe` (Optuna's sampler) as many runs of it as the `budget` allows;
    `halving` starts all, and at each of its rungs, `reduction` times as far as the last, goes on with
    the best 1 / `reduction` alone; the last of so many `rungs` is the end. What stands here was chosen
    by replaying the curves of the retail grid with five seeds: within 0.3 % of the best, a quarter of the time.
    """

    strategy: Literal["grid", "random", "halving", "tpe"] = "grid"
    budget: Budget | None = None
    reduction: Annotated[int, Field(ge=2, le=10)] = 4
    rungs: Annotated[int, Field(ge=2, le=10)] = 3
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _spends(self) -> Search:
        if self.strategy in ("random", "tpe") and self.budget is None:
            raise ValueError(f"{self.strategy} needs a budget, such as {{runs: 50}} or {{minutes: 10}}")
        if self.strategy in ("grid", "halving") and self.budget is not None:
            raise ValueError(f"{self.strategy} takes no budget; leave it out, or use random or tpe")
        return self


class Ensemble(Section):
    """One forecaster of the `top` runs: the mean of their forecasts, the median, or the mean weighted by 1 / error.

    The error is that on the validation span: the weighted quantile loss where quantiles are forecast, else the MAE.
    """

    top: Annotated[int, Field(ge=2, le=50)] = 5
    combine: Literal["mean", "median", "weighted"] = "mean"


class Selection(Section):
    """How the winner is chosen, and when it may become champion; an `ensemble` wins in place of the best run.

    Detectors also compare by what the AUC-PR lacks of 1 over validation steps that faults were put into
    (`val_faults_missed`), and by the false alarms there at their threshold (`val_false_alarms_per_day`).
    """

    metric: Literal[
        "best_val_loss", "best_val_mae", "best_val_wql", "val_faults_missed", "val_false_alarms_per_day"
    ] = "best_val_loss"
    promote_to: Name | None = None
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    when_beaten: Literal["refuse", "warn"] = "refuse"
    ensemble: Ensemble | None = None


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
    baseline: dict[str, Any] = {}
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
            "anomaly": {"transform": {"scale": "standard"}, "data": SENSORS},
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
        for axis in ("likelihood", "scaling"):
            if self.values(axis) != {None}:
                raise ValueError(f"{axis}: means nothing under task: anomaly; write task: probabilistic")
        if self.values("loss") != {"mse"}:
            raise ValueError("loss: means nothing under task: anomaly, whose score is a squared error; leave it out")
        for where, value, wanted, why in (
            ("mode", self.mode, "global", "one network watches all sensors"),
            ("window.horizon", self.window.horizon, 1, "the step after a window is all that it predicts"),
            ("split.folds", self.split.folds, None, "its threshold belongs to one training span"),
            ("data.gaps", self.data.gaps, "keep", "a value that is made up is no error"),
            ("data.aggregate", self.data.aggregate, "none", "its steps are the rows of the table"),
            ("data.exhibition", self.data.exhibition, "none", "sensors are on no shelf"),
            ("selection.ensemble", self.selection.ensemble, None, "every detector has a threshold of its own"),
        ):
            if value != wanted:
                raise ValueError(f"{where}: must be left out under task: anomaly, for {why}")
        if self.selection.metric in ("best_val_mae", "best_val_wql"):
            raise ValueError(
                f"selection.metric: {self.selection.metric} means nothing under task: anomaly; write best_val_loss, "
                "val_faults_missed or val_false_alarms_per_day"
            )
        own = self.configuration().detector
        detectors = {value for grid in self.grid for value in grid.get("detector", (own,))}
        if len(detectors) > 1 and self.selection.metric == "best_val_loss":
            raise ValueError(
                "selection.metric: best_val_loss cannot compare detectors that err on different things "
                f"({', '.join(sorted(map(str, detectors)))}); write val_faults_missed"
            )
        return self

    @model_validator(mode="after")
    def _one_for_all(self) -> Experiment:
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
            own |= {"detector": "reconstruction", "latent": 8}
        return Configuration(**(own | self.baseline | settings))


def _axis(where: str, axis: object) -> None:
    if axis not in AXES:
        raise ValueError(f"{where}: unknown key{suggest(str(axis), AXES)} (allowed: {', '.join(AXES)})")


def _setting(where: str, axis: str, value: object) -> None:
    lookback = {} if axis == "lookback" else {"lookback": 1}
    try:
        Configuration.model_validate({**lookback, axis: value})
    except ValidationError as error:
        raise ValueError(f"{where}: {_told(error.errors()[0], Configuration)}") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number (YAML 1.1 wants 1.0e-3) and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands twice; keep one of them", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
# A date in YAML would become a date object; here it is text until the data say how to read it.
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def read(path: Path | str) -> Experiment:
    """The experiment in the YAML file `path`. Raises ConfigError, every fault in one message."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        near = suggest(Path(path).name, (p.name for p in Path(path).parent.glob("*.y*ml")))
        raise ConfigError(f"{path}: no such experiment file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    return parse(text, str(path))


def parse(text: str, origin: str = "experiment") -> Experiment:
    """The experiment in the YAML `text`; `origin` names it in errors. Raises ConfigError."""
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader: data, no code
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{origin}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{origin}: expected keys such as name, data, window and grid; the file holds none")
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        faults = error.errors()
        lines = [f"{origin}: {_line(fault)}" for fault in faults if not _told_by_its_items(fault, faults)]
        raise ConfigError("\n".join(lines)) from None


def with_source(text: str, source: str) -> str:
    """The experiment in the YAML `text` on the data of `source`; comments are lost."""
    content = yaml.load(text, Loader=_Loader)  # noqa: S506 - as above
    content["data"]["source"] = source
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _told_by_its_items(fault: Any, faults: Sequence[Any]) -> bool:
    """A list is found too short when its items were refused, whose own faults say enough."""
    return fault["type"] == "too_short" and any(other["loc"][:-1] == fault["loc"] for other in faults)


def _line(fault: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    if fault["type"] == "value_error":
        said = str(fault["ctx"]["error"])
        begun = (path, "selection", "split", "search", "anomaly")
        return said if not path or said.startswith(begun) else f"{path}: {said}"
    return f"{path}: {_told(fault, _section(fault['loc'][:-1]))}"


def _section(path: tuple[Any, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Experiment
    for part in path:
        field = section.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        section = field.annotation
    return section


def _told(fault: Any, section: type[BaseModel]) -> str:
    value = fault["input"]
    if fault["type"] == "extra_forbidden":
        keys = section.model_fields
        return f"unknown key{suggest(str(fault['loc'][-1]), keys)} (allowed: {', '.join(keys)})"
    if fault["type"] == "missing":
        return "is missing; add it"
    if fault["type"] == "literal_error":
        allowed = fault["ctx"]["expected"]
        names = re.findall(r"'([^']+)'", allowed)
        return f"{value!r} is not allowed{suggest(str(value), names)} (allowed: {allowed.replace(' or ', ', ')})"
    message = fault["msg"].replace("Input should be", "must be").replace("a valid ", "a ")
    message = message.replace("a integer", "an integer").replace("a tuple", "a list").replace("Tuple should", "must")
    return f"{message.replace(' after validation, not 0', '').replace('String should', 'must')} (got {value!r})"
