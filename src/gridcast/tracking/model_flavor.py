"""The MLflow model folder, written from files that a worker process returned.

One artifact opens in two ways: `mlflow.keras.load_model` gives the network, `mlflow.pyfunc.load_model` the
forecaster. A forecaster of several networks opens only as the latter. Nothing is pickled, and logging a model
does not load its network.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from gridcast import runtime
from gridcast.runtime import plugin_code
from gridcast.runtime.answer_columns import ANSWERING_MODEL, FORECAST, ROLLED_FORWARD, quantile_column
from gridcast.runtime.baseline_model import BaselineModel
from gridcast.runtime.baselines import LIBRARIES
from gridcast.runtime.detector import ANOMALY, DETECTOR_KEY, SCORE, THRESHOLD
from gridcast.runtime.model_files import BASELINE_FILE, NETWORK_FILE, SETTINGS_FILE
from gridcast.runtime.per_series import ROUTES_FILE
from gridcast.runtime.preprocessing import Preprocessing

INIT_SOURCE = b"from . import loading\n"
"""`__init__.py` of the carried package. It imports everything at once: after loading, the model's folder is gone."""
CODE_FILE = "code.zip"
EXAMPLE_FILE, SERVING_EXAMPLE_FILE = "input_example.json", "serving_input_example.json"
"""Files that MLflow shows beside a model; `mlflow models predict` reads the second."""
REQUIREMENTS = ("mlflow", "keras", "jax", "numpy", "pandas")


@functools.cache
def carried_package() -> tuple[str, bytes]:
    """Return the name of the package that travels with a model, and a ZIP file of it, which Python imports as it is.

    One file, as a server of artifacts takes a request for each. The name is a digest of the content, so that models of
    several versions of gridcast, and gridcast itself, can live in one process without replacing each other's modules.
    """
    folder = Path(runtime.__file__).parent
    modules = sorted(folder.rglob("*.py"))
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in modules} | {"__init__.py": INIT_SOURCE}
    package = f"gridcast_model_{hashlib.sha256(b''.join(files.values())).hexdigest()[:12]}"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(f"{package}/{name}"), content, zipfile.ZIP_DEFLATED)
    return package, archive.getvalue()


def save_model(
    path: str, mlflow_model: Any, *, files: Mapping[str, bytes], backend: str, example: Mapping[str, Any] | None = None
) -> None:
    """Write the model folder `path`: MLmodel, data/ (the `files`), code.zip and requirements.

    `example` is a table that the model answers, as `columns` and `data`.
    """
    from mlflow import pyfunc

    root = Path(path)
    (root / "data").mkdir(parents=True)
    for name, content in files.items():
        (root / "data" / name).write_bytes(content)
    package, archive = carried_package()
    (root / CODE_FILE).write_bytes(archive)
    required = (*REQUIREMENTS, *_packages_of_baselines(files), *_packages_of_plugins(files))
    (root / "requirements.txt").write_text("".join(f"{name}=={version(name)}\n" for name in required))
    (root / "python_env.yaml").write_text("python: '3.11'\ndependencies:\n- -r requirements.txt\n")
    if example:
        (root / EXAMPLE_FILE).write_text(json.dumps(example))
        (root / SERVING_EXAMPLE_FILE).write_text(json.dumps({"dataframe_split": example}))
        mlflow_model.saved_input_example_info = {
            "artifact_path": EXAMPLE_FILE,
            "serving_input_path": SERVING_EXAMPLE_FILE,
            "type": "dataframe",
            "pandas_orient": "split",
        }
    mlflow_model.signature = _signature(json.loads(files[SETTINGS_FILE]), routed=ROUTES_FILE in files)
    if NETWORK_FILE in files:
        mlflow_model.add_flavor(
            "keras", data="data", keras_version=version("keras"), keras_backend=backend, save_exported_model=False
        )
    pyfunc.add_to_model(
        mlflow_model, loader_module=f"{package}.loading", data="data", code=CODE_FILE, python_env="python_env.yaml"
    )
    mlflow_model.save(str(root / "MLmodel"))


def _packages_of_baselines(files: Mapping[str, bytes]) -> list[str]:
    """Return the packages, beside REQUIREMENTS, of the baselines that the model in `files` consists of."""
    is_detector = DETECTOR_KEY in json.loads(files[SETTINGS_FILE])
    fitted = [content for name, content in files.items() if name.endswith(Path(BASELINE_FILE).suffix)]
    names = [] if is_detector else [BaselineModel.from_bytes(content).name for content in fitted]
    return sorted({package for name in names for package in LIBRARIES.get(name, ())})


def _packages_of_plugins(files: Mapping[str, bytes]) -> list[str]:
    """Return the installed packages that the code of plug-ins among the `files` imports, beside REQUIREMENTS."""
    code = plugin_code.files_in(files).values()
    if not code:
        return []
    nodes = [node for text in code for node in ast.walk(ast.parse(text))]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    packages = packages_distributions()
    return sorted({name for module in modules for name in packages.get(module.split(".")[0], ())} - {*REQUIREMENTS})


def _signature(settings: Mapping[str, Any], *, routed: bool) -> Any:
    preprocessing = Preprocessing.from_json(dict(settings))
    if DETECTOR_KEY in settings:
        return detector_signature(preprocessing)
    quantiles = settings.get("quantiles")
    return forecaster_signature(preprocessing, quantiles["levels"] if quantiles else (), routed=routed)


def forecaster_signature(preprocessing: Preprocessing, levels: Sequence[float] = (), *, routed: bool = False) -> Any:
    """Return the columns of the history and of the forecasts, in the experiment's own names, and the parameters.

    Probabilistic forecasts have quantiles at `levels`; `routed` ones have a column that names the answering model.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    keys, categories = preprocessing.keys, preprocessing.categories
    # Ids and stamps come as text or as numbers and datetimes: the forecaster reads either.
    labels = [ColSpec(AnyType(), name, required=True) for name in (*keys, preprocessing.time)]
    numeric_columns = (preprocessing.target, *preprocessing.past, *preprocessing.future_columns)
    numbers = [ColSpec("double", name, required=True) for name in numeric_columns]
    statics = [ColSpec(AnyType(), name, required=False) for name, _ in categories if name not in keys]
    quantiles = [ColSpec("double", quantile_column(level)) for level in levels]
    outputs = [*labels, ColSpec("double", FORECAST), *quantiles, ColSpec("boolean", ROLLED_FORWARD)]
    outputs += [ColSpec("string", ANSWERING_MODEL)] if routed else []
    params = [ParamSpec("horizon", "integer", preprocessing.horizon)]
    if levels:
        params += [ParamSpec("quantiles", "double", list(levels), (-1,)), ParamSpec("seed", "long", 0)]
    return ModelSignature(Schema(labels + numbers + statics), Schema(outputs), ParamSchema(params))


def detector_signature(preprocessing: Preprocessing) -> Any:
    """Return the columns of the table that a detector reads, and of the scores that it returns for each step."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    time = ColSpec(AnyType(), preprocessing.time)
    sensors = [ColSpec("double", name) for name in preprocessing.series]
    scores = [ColSpec("double", SCORE), ColSpec("double", THRESHOLD), ColSpec("boolean", ANOMALY)]
    return ModelSignature(Schema([time, *sensors]), Schema([time, *scores, *sensors]))
