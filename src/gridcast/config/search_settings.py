"""The section `search` of an experiment file: which runs of the grid are trained, and which are confirmed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from gridcast.config.section import Section


class Budget(Section):
    """The limit of a search: a number of `runs` in all, or of `minutes` at each start."""

    runs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Budget:
        if (self.runs is None) == (self.minutes is None):
            raise ValueError("write one of runs and minutes, such as {runs: 50}")
        return self


class Confirm(Section):
    """The `top` configurations are trained with further seeds, until each of them has `seeds` seeds in all."""

    top: Annotated[int, Field(ge=1, le=50)] = 5
    seeds: Annotated[int, Field(ge=2, le=20)] = 4


class Search(Section):
    """The part of the declared grid that is trained.

    `grid` trains all of it, `random` and `tpe` (Optuna's sampler) as many runs as the `budget` allows. `halving` starts
    all runs; at each of its `rungs`, `reduction` times further than the one before, only the best 1 / `reduction` go
    on; the last rung is the end of training. The defaults were chosen by replaying the learning curves of the retail
    grid with five seeds: within 0.3 % of the best in a quarter of the time.

    `asha` (asynchronous successive halving) starts as many runs as the `budget` allows, proposed as by `tpe`, and has
    the rungs of `halving`. Whenever runs have come to a rung, the best 1 / `reduction` of those there so far go on,
    and new ones are started beside them. Axes may be ranges with `random`, `tpe` and `asha`.

    After the search the leading configurations are confirmed with further seeds, see `Confirm`, unless `confirm` is
    none. If it is left out, `grid` and `halving` confirm as many as cost at most a tenth of the sweep.
    """

    strategy: Literal["grid", "random", "halving", "tpe", "asha"] = "grid"
    budget: Budget | None = None
    reduction: Annotated[int, Field(ge=2, le=10)] = 4
    rungs: Annotated[int, Field(ge=2, le=10)] = 3
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    confirm: Confirm | None = Confirm()

    @property
    def is_confirm_asked(self) -> bool:
        """Whether the file has `confirm`; its cost is then not limited."""
        return "confirm" in self.model_fields_set

    @field_validator("confirm", mode="before")
    @classmethod
    def _read_switch(cls, value: object) -> object:
        if isinstance(value, dict | Confirm) or value is None:
            return value
        if isinstance(value, bool) or value == "none":
            return Confirm() if value is True else None
        raise ValueError(f"search.confirm: expected {{top: 5, seeds: 4}} or none, got {value!r}")

    @model_validator(mode="after")
    def _check_budget(self) -> Search:
        if self.strategy in ("random", "tpe") and self.budget is None:
            raise ValueError(f"{self.strategy} needs a budget, such as {{runs: 50}} or {{minutes: 10}}")
        if self.strategy == "asha" and (self.budget is None or self.budget.runs is None):
            raise ValueError("asha needs a budget of runs to start, such as {runs: 50}")
        if self.strategy in ("grid", "halving") and self.budget is not None:
            raise ValueError(f"{self.strategy} takes no budget; remove it, or use random or tpe")
        return self
