"""The MODEL argument of a verb: a registered name, an MLflow URI, or an experiment file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gridcast import config
from gridcast.runtime.errors import ConfigError, UnknownModel, suggest

if TYPE_CHECKING:
    from gridcast.tracking.model_loading import ModelReference


EXPERIMENT_SUFFIXES = (".yaml", ".yml")
SCHEMES = ("models", "runs")
CHAMPION_ALIAS = "champion"
THREE_WAYS = (
    "a model is a registered name (retail-daily), an MLflow URI (models:/retail-daily@champion, runs:/RUN_ID/model), "
    "or an experiment file (experiments/retail_daily.yaml)"
)


def find_model(argument: str | Path) -> ModelReference:
    """Return the MLflow model that a MODEL argument means.

    A registered name and an experiment file (by its `selection.promote_to`) mean the champion. Raises ConfigError,
    UnknownModel, and TrackingError where there is no store yet or it cannot be read.
    """
    argument = str(argument)
    model = resolve_model(argument)
    from gridcast.tracking import model_loading, store

    store.require_store()
    with explain_unknown_model(argument):
        return model_loading.find_model(model)


def resolve_model(argument: str) -> str:
    """Return the registered name or the MLflow URI that a MODEL argument means. Raises ConfigError."""
    if is_experiment_file(argument):
        return promoted_name(Path(argument))
    scheme, separator, rest = argument.partition(":/")
    if not argument or (separator and (scheme not in SCHEMES or not rest.strip("/"))):
        near = suggest(scheme, SCHEMES).replace("'?", f":/{rest}'?") if separator and scheme not in SCHEMES else ""
        raise ConfigError(f"'{argument}' does not name a model{near or '; '}{' ' if near else ''}{THREE_WAYS}")
    return argument


def registered_name(argument: str | Path, verb: str) -> str:
    """Return the registered model that a MODEL argument means, for a `verb` that works on its champion.

    Raises ConfigError for a run, a version that is named by number, another alias, or an experiment file that
    registers no model.
    """
    model = resolve_model(str(argument))
    scheme, separator, rest = model.partition(":/")
    needs = f"`gridcast {verb}` works on the champion of a registered model"
    if separator and scheme == "runs":
        raise ConfigError(
            f"'{argument}' is one run, and {needs}: give its name, such as retail-daily, or an experiment file with "
            "selection.promote_to"
        )
    name, _, alias = (rest.strip("/") if separator else model).partition("@")
    name, _, version = name.partition("/")
    if version or alias not in ("", CHAMPION_ALIAS) or (separator and name.startswith("m-")):
        raise ConfigError(f"'{argument}' is one version of a model, and {needs}: give its name alone, such as {name}")
    return name


def is_experiment_file(argument: str) -> bool:
    """Whether a MODEL argument is an experiment file, by its suffix."""
    return argument.lower().endswith(EXPERIMENT_SUFFIXES)


def promoted_name(path: Path) -> str:
    """Return the registered model that an experiment file promotes to. Raises ConfigError."""
    name = config.read(path, config.LENIENT).selection.promote_to
    if name is None:
        raise ConfigError(f"{path}: selection.promote_to: is missing, so the experiment registers no model; add a name")
    return name


@contextlib.contextmanager
def explain_unknown_model(argument: str) -> Iterator[None]:
    """Add to an UnknownModel error the three ways to name a model, and an experiment file that is nearly meant."""
    try:
        yield
    except UnknownModel as error:
        message = str(error)
        if "did you mean" not in message:
            message += suggest(argument, _experiment_files_near(argument))
        raise UnknownModel(f"{message}{' ' if message.endswith('?') else '; '}{THREE_WAYS}") from None


def _experiment_files_near(argument: str) -> list[str]:
    """Experiment files in the folder that the argument names or, for a plain word, in `experiments`."""
    path = Path(argument)
    folders = [path.parent] if path.parent != Path() else [Path(), Path("experiments")]
    return [str(file) for folder in folders for suffix in EXPERIMENT_SUFFIXES for file in folder.glob(f"*{suffix}")]
