"""The MLflow model folder, made from files that a worker wrote: one artifact with two doors.

`mlflow.keras.load_model` gives the network, `mlflow.pyfunc.load_model` the forecaster; one of many
networks has the second door only. No network is loaded to log one, and nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gridcast import runtime
from gridcast.runtime.detector import ANOMALY, DETECTOR_KEY, SCORE, THRESHOLD
from gridcast.runtime.forecaster import (
    ANSWERING_MODEL,
    FORECAST,
    NETWORK_FILE,
    ROLLED_FORWARD,
    SETTINGS_FILE,
    quantile_column,
)
from gridcast.runtime.per_series import ROUTES_FILE
from gridcast.runtime.preprocessing import Preprocessing

INIT_SOURCE = b"from . import loading\n"
"""`__init__.py` of the package. It imports all of it at once: the folder of a model is gone after it was loaded."""


def carried_package() -> tuple[str, dict[str, bytes]]:
    """Name and files of the package that travels with a model.

    The name follows from the content, so that models of several versions of gridcast, and
    gridcast itself, live in one process without taking each other's place.
    """
    modules = sorted(Path(runtime.__file__).parent.glob("*.py"))
    files = {path.name: path.read_bytes() for path in modules} | {"__init__.py": INIT_SOURCE}
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()[:12]
    return f"gridcast_model_{digest}", files


def save_model(
    path: str, mlflow_model: Any, files: dict[str, bytes], preprocessing: Preprocessing, backend: str
) -> None:
    """Write the model folder `path`: MLmodel, data/, code/ and requirements. Called by `Model.log`."""
    from mlflow import pyfunc

    root = Path(path)
    (root / "data").mkdir(parents=True)
    for name, content in files.items():
        (root / "data" / name).write_bytes(content)
    name, modules = carried_package()
    for module, content in modules.items():
        target = root / "code" / name / module
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    requirements = [f"{needed}=={version(needed)}" for needed in ("mlflow", "keras", "jax", "numpy", "pandas")]
    (root / "requirements.txt").write_text("\n".join(requirements) + "\n")
    (root / "python_env.yaml").write_text("python: '3.11'\ndependencies:\n- -r requirements.txt\n")
    content = json.loads(files[SETTINGS_FILE])
    told, detects = content.get("quantiles"), DETECTOR_KEY in content
    plain = forecaster_signature(preprocessing, told["levels"] if told else (), routed=ROUTES_FILE in files)
    mlflow_model.signature = detector_signature(preprocessing) if detects else plain
    if NETWORK_FILE in files:
        mlflow_model.add_flavor(
            "keras", data="data", keras_version=version("keras"), keras_backend=backend, save_exported_model=False
        )
    entry, environment = f"{name}.loading", "python_env.yaml"
    pyfunc.add_to_model(mlflow_model, loader_module=entry, data="data", code="code", python_env=environment)
    mlflow_model.save(str(root / "MLmodel"))


def forecaster_signature(preprocessing: Preprocessing, levels: Sequence[float] = (), *, routed: bool = False) -> Any:
    """Columns of the history table and of the forecasts, in the experiment's own names; quantiles at `levels`.

    `routed` forecasts say which model answered.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    own = preprocessing
    # Ids and stamps come as text or as numbers and datetimes: the forecaster reads either.
    labels = [ColSpec(AnyType(), name, required=True) for name in (*own.keys, own.time)]
    numbers = [ColSpec("double", name, required=True) for name in (own.target, *own.past, *own.future_columns)]
    categories = [ColSpec(AnyType(), name, required=False) for name, _ in own.categories if name not in own.keys]
    quantiles = [ColSpec("double", quantile_column(level)) for level in levels]
    outputs = [*labels, ColSpec("double", FORECAST), *quantiles, ColSpec("boolean", ROLLED_FORWARD)]
    outputs += [ColSpec("string", ANSWERING_MODEL)] if routed else []
    params = [ParamSpec("horizon", "integer", own.horizon)]
    if levels:
        params += [ParamSpec("quantiles", "double", list(levels), (-1,)), ParamSpec("seed", "long", 0)]
    return ModelSignature(Schema(labels + numbers + categories), Schema(outputs), ParamSchema(params))


def detector_signature(preprocessing: Preprocessing) -> Any:
    """Columns of the table that a detector reads, and of what it tells of each step."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    time = ColSpec(AnyType(), preprocessing.time)
    sensors = [ColSpec("double", name) for name in preprocessing.series]
    told = [ColSpec("double", SCORE), ColSpec("double", THRESHOLD), ColSpec("boolean", ANOMALY)]
    return ModelSignature(Schema([time, *sensors]), Schema([time, *told, *sensors]))
