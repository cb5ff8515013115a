"""The rules of the house, read from the imports."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import gridcast

ROOT = Path(gridcast.__file__).parent
CARRIED = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "runtime").glob("*.py"))]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
FILES = pytest.mark.parametrize("file", TREES)


def dotted(file):
    """`data/axis.py` -> `gridcast.data.axis`."""
    parts = ["gridcast", *file.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(file): file for file in TREES}


def for_types_only(tree):
    """Nodes under `if TYPE_CHECKING:`, which are never executed."""
    conditions = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    guarded = [node for node in conditions if ast.unparse(node.test) == "TYPE_CHECKING"]
    return {inner for node in guarded for inner in ast.walk(node)}


def imported(file, *, at_once=False):
    """Full names of all modules that a file imports; `at_once` leaves out those that its functions import."""
    tree, package = TREES[file], dotted(file).split(".")
    skipped = for_types_only(tree)
    found = set()
    for node in tree.body if at_once else ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = package if file.endswith("__init__.py") else package[:-1]
                base = ".".join([*own[: len(own) - node.level + 1], *([node.module] if node.module else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else base for name in names}
    return found


def roots(file):
    return {name.split(".")[0] for name in imported(file)}


def inside(file, *places):
    return any(file == place or (place.endswith("/") and file.startswith(place)) for place in places)


@pytest.mark.parametrize(
    ("packages", "places"),
    [
        ({"mlflow"}, ("tracking.py", "registry.py", "promotion.py", "flavor.py")),
        ({"dask", "distributed"}, ("execution.py", "worker.py", "forked.py")),
        ({"fastapi", "starlette", "uvicorn", "prometheus_client"}, ("serving/",)),
        ({"keras", "jax", "tensorflow"}, ("models/", "training/", "forecaster.py", "anomaly/detector.py")),
        ({"matplotlib", "seaborn"}, ("analysis/", "anomaly/report.py")),
        ({"typer", "rich"}, ("cli/", "progress.py", "terminal.py")),
    ],
)
def test_a_library_is_imported_only_where_it_belongs(packages, places):
    users = {file for file in TREES if roots(file) & packages}
    assert {file for file in users if not inside(file, *places)} == set()


def test_the_rules_see_lazy_and_relative_imports():
    """The test above would pass in silence if nothing were found."""
    assert "mlflow" in roots("tracking.py")
    assert "distributed" in roots("execution.py")
    assert "keras" in roots("forecaster.py")
    assert "gridcast.data.preprocessing" in imported("forecaster.py")
    assert "gridcast.data.windows" in imported("forecaster.py")
    assert "gridcast.sweep" in imported("cli/training.py")


PURE = ["grid.py", "importance.py", "metrics.py", "data/splits.py", "data/windows.py", "data/gaps.py"]
PURE += ["drift.py", "data/scaling.py", "data/aggregation.py", "data/exhibition.py"]
LATER = ("analysis/tables.py", "analysis/quantiles.py", "analysis/statistics.py")
LATER += ("anomaly/thresholds.py", "anomaly/events.py", "anomaly/scoring.py", "anomaly/baselines.py")
PURE += [file for file in LATER if file in TREES]
WORLDLY = {"os", "sys", "io", "pathlib", "glob", "shutil", "tempfile", "subprocess", "socket", "threading", "logging"}
WORLDLY |= {"time", "datetime", "random", "warnings", "signal", "contextlib", "importlib", "yaml", "pyarrow", "rich"}
WORLDLY |= {"mlflow", "keras", "jax", "tensorflow", "dask", "distributed", "matplotlib", "seaborn"}
IMPURE = {"open", "print", "input", "exec", "eval", "__import__"}
IMPURE |= {"now", "today", "default_rng", "seed", "read_csv", "read_parquet", "to_csv", "to_parquet", "save", "load"}


@pytest.mark.parametrize("file", PURE)
def test_pure_modules_know_no_world_outside(file):
    assert roots(file) & WORLDLY == set()
    nodes = list(ast.walk(TREES[file]))
    assert not [node for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal))]
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    called = {getattr(function, "id", getattr(function, "attr", "")) for function in calls}
    assert called & IMPURE == set()


def test_nothing_imports_the_command_line():
    users = {file for file in TREES if any(f"{name}.".startswith("gridcast.cli.") for name in imported(file))}
    assert {file for file in users if not inside(file, "cli/")} == set()


def test_serving_knows_no_sweeps():
    served = [file for file in TREES if file.startswith("serving/")]
    assert {file for file in served if reachable(dotted(file)) & {"gridcast.sweep", "gridcast.execution"}} == set()


ORDER = ["config", "grid", "data", "models", "training", "sweep", "cli"]


@pytest.mark.parametrize(
    ("earlier", "later"), [(a, b) for i, a in enumerate(ORDER) for b in ORDER[i + 1 :]], ids=lambda name: name
)
def test_data_flow_one_way(earlier, later):
    own = [file for file in TREES if file == f"{earlier}.py" or file.startswith(f"{earlier}/")]
    assert own
    back = {name for file in own for name in imported(file) if f"{name}.".startswith(f"gridcast.{later}.")}
    assert back == set()


def reachable(module, *, at_once=False):
    """Modules of gridcast that are imported with `module`, directly or not."""
    found, open_ends = set(), [module]
    while open_ends:
        new = (imported(MODULES[open_ends.pop()], at_once=at_once) & set(MODULES)) - found
        found |= new
        open_ends += new
    return found


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_itself_through_others(module):
    assert module not in reachable(module)


@pytest.mark.parametrize("file", CARRIED)
def test_what_travels_in_a_model_needs_only_what_is_there(file):
    """Relative imports of each other; NumPy, pandas, the standard library; and Keras inside functions."""
    allowed = {"numpy", "pandas", "keras", *sys.stdlib_module_names}
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module.split(".")[0] in allowed
    assert imported(file) & set(MODULES) <= {dotted(carried) for carried in CARRIED} | {"gridcast"}
    assert "keras" not in imported(file, at_once=True)


def test_models_carry_the_forecaster_and_all_it_needs():
    assert reachable("gridcast.runtime.forecaster") | {"gridcast.runtime.forecaster"} <= {
        dotted(file) for file in CARRIED
    }


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DECLARATIONS = (ast.Import, ast.ImportFrom, *FUNCTIONS, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.AugAssign)
COMPLETING = ("_Loader.add_implicit_resolver(", "app.add_typer(")


@pytest.mark.parametrize("file", sorted(TREES.keys() - {"forked.py"}))  # which is there to act
def test_a_module_only_declares(file):
    """No statement at module level acts, but for those that complete a class or a table of the module itself."""
    acting = [
        ast.unparse(node)
        for node in TREES[file].body
        if not isinstance(node, DECLARATIONS)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"))
        and not (isinstance(node, ast.Expr) and ast.unparse(node).startswith(COMPLETING))
    ]
    assert acting == []


IMPORTS = """
import json, os, sys
touched = []

def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        touched.append(f"{event} {arguments[0]}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "subprocess.Popen", "socket.connect", "os.putenv"):
        touched.append(f"{event} {arguments[0]}")

import numpy, pandas
sys.dont_write_bytecode = True
sys.addaudithook(watch)
for module in json.loads(sys.argv[1]):
    __import__(module)
print(json.dumps([touched, sorted(sys.modules)]))
"""


def after_import(folder, *modules):
    """What a fresh process touched while it imported `modules`, and all that is loaded then."""
    command = [sys.executable, "-c", IMPORTS, json.dumps(modules)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert (done.stderr, list(folder.iterdir())) == ("", [])
    touched, loaded = json.loads(done.stdout)
    return touched, set(loaded)


HEAVY = {"mlflow", "keras", "tensorflow", "jax", "distributed", "dask", "matplotlib", "sklearn", "statsmodels", "torch"}


def test_the_command_line_starts_without_heavy_packages(tmp_path):
    touched, loaded = after_import(tmp_path, "gridcast.cli")
    assert "gridcast.cli" in loaded
    assert loaded & HEAVY == set()
    assert touched == []


def test_importing_what_needs_no_network_touches_nothing(tmp_path):
    packages = {"keras", "jax", "matplotlib", "seaborn", "distributed"}
    heavy = {file for file in TREES if imported(file, at_once=True) & packages}
    whole = {module: {module} | reachable(module, at_once=True) for module in MODULES}
    light = [module for module in MODULES if not {MODULES[name] for name in whole[module]} & heavy]
    assert {"gridcast.sweep", "gridcast.tracking", "gridcast.registry", "gridcast.runtime.forecaster"} <= set(light)
    touched, loaded = after_import(tmp_path, *light)
    assert touched == []
    assert loaded & HEAVY == set()


def test_no_pictures_backend_is_chosen_by_an_import(tmp_path):
    code = "import gridcast.analysis.report, matplotlib; print(matplotlib.rcParams._get_backend_or_none())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


@FILES
def test_names_are_those_of_the_domain(file):
    avoided = {"utils", "helpers", "manager", "seq_len", "pred_len", "staging", "production"}
    assert not avoided & set(file.removesuffix(".py").lower().split("/"))
    nodes = ast.walk(TREES[file])
    names = {getattr(node, field) for node in nodes for field in ("id", "arg", "name") if hasattr(node, field)}
    names = {name.lower() for name in names if isinstance(name, str)}
    assert names & avoided == set()
