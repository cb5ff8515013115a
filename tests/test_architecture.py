"""The rules of the house, read from the imports."""

import ast
import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import warm_python

import gridcast

ROOT = Path(gridcast.__file__).parent
ORDER = [
    "runtime",
    "config",
    "data",
    "models",
    "evaluation",
    "tracking",
    "training",
    "sweep",
    "monitoring",
    "reporting",
    "serving",
    "api",
    "cli",
]
"""The packages, each above those that it may import."""
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def dotted(file):
    """`data/axis.py` -> `gridcast.data.axis`."""
    parts = ["gridcast", *file.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(file): file for file in TREES}


@functools.cache
def imported(file, *, at_once=False):
    """Full names of all modules that a file imports, those under `TYPE_CHECKING` too.

    `at_once` leaves out those imports and the ones inside functions: what is loaded together with the file.
    """
    tree, package = TREES[file], dotted(file).split(".")
    package = package if file.endswith("__init__.py") else package[:-1]
    names = set()
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            members = {f"{base}.{alias.name}" for alias in node.names}
            names |= {member if member in MODULES else base for member in members}
    return frozenset(names)


def roots(file):
    return {name.split(".")[0] for name in imported(file)}


def inside(file, *places):
    return any(file == place or (place.endswith("/") and file.startswith(place)) for place in places)


def test_the_packages_are_those_of_the_list():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ORDER)
    assert {path.name for path in ROOT.glob("*.py")} <= {"__init__.py", "__main__.py"}


def offenders(problems, files=TREES):
    """What `problems(file)` returns of each of the files in which it finds any."""
    return {file: list(some) for file in files if (some := problems(file))}


def test_a_package_imports_only_those_below_it():
    def too_high(file):
        place = file.split("/")[0]
        allowed = ORDER[: ORDER.index(place) + 1] if place in ORDER else ORDER
        return {name.split(".")[1] for name in imported(file) if name.startswith("gridcast.")} - set(allowed)

    assert offenders(too_high) == {}


@pytest.mark.parametrize(
    ("packages", "places"),
    [
        ({"mlflow"}, ("tracking/",)),
        ({"dask", "distributed"}, ("sweep/dask_workers.py", "sweep/worker_process.py", "sweep/forkserver_preload.py")),
        ({"fastapi", "starlette", "uvicorn", "prometheus_client"}, ("serving/",)),
        ({"keras", "jax", "tensorflow"}, ("models/", "training/", "runtime/", "serving/models/")),
        ({"matplotlib", "seaborn"}, ("reporting/", "api/finished_sweep.py")),
        ({"typer"}, ("cli/",)),
        ({"rich"}, ("cli/", "api/progress.py")),
    ],
)
def test_a_library_is_imported_only_where_it_belongs(packages, places):
    users = {file for file in TREES if roots(file) & packages}
    assert {file for file in users if not inside(file, *places)} == set()


def test_the_rules_see_lazy_relative_and_type_checking_imports():
    """The tests above would pass in silence if no import were found."""
    assert "mlflow" in roots("tracking/mlflow_runs.py")
    assert "distributed" in roots("sweep/dask_workers.py")
    assert "keras" in roots("runtime/loading.py")
    assert "gridcast.runtime.preprocessing" in imported("runtime/forecaster.py")
    assert "gridcast.sweep.runner" in imported("api/running.py")
    assert "fastapi" in roots("serving/fast_routes.py")


PURE = [
    "config/grid.py",
    "data/series_statistics.py",
    "data/splits.py",
    "evaluation/detection_metrics.py",
    "evaluation/metrics.py",
    "evaluation/permutation_importance.py",
    "evaluation/significance.py",
    "evaluation/thresholds.py",
    "models/baselines/detectors.py",
    "monitoring/drift.py",
    "reporting/forecast_tables.py",
    "reporting/interval_calibration.py",
    "reporting/leaderboard.py",
    "reporting/setting_effects.py",
    "runtime/combined_scores.py",
    "runtime/events.py",
    "runtime/gaps.py",
    "runtime/resampling.py",
    "runtime/scaling.py",
    "runtime/simple_detectors.py",
    "runtime/windows.py",
    "runtime/zero_runs.py",
]
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


def test_serving_does_not_depend_on_sweeps():
    served = [file for file in TREES if file.startswith("serving/")]
    assert {file for file in served if reachable(dotted(file)) & {"gridcast.sweep.runner"}} == set()


def reachable(module, *, at_once=False):
    """Modules of gridcast that are imported with `module`, directly or not."""
    found, open_ends = set(), [module]
    while open_ends:
        # The package itself imports its names when they are used: who takes its version loads nothing else.
        new = (imported(MODULES[open_ends.pop()], at_once=at_once) & set(MODULES)) - found - {"gridcast"}
        found |= new
        open_ends += new
    return found


def test_no_module_imports_itself_through_others():
    assert [module for module in MODULES if module in reachable(module)] == []


@pytest.mark.parametrize("file", [file for file in TREES if file.startswith("runtime/")])
def test_what_travels_in_a_model_needs_only_what_is_there(file):
    """Relative imports of each other; NumPy, pandas, the standard library; inside functions Keras, or the library of a
    baseline.
    """
    inside_functions = {"scipy", "sklearn", "statsmodels", "prophet"} if "/baselines/" in file else {"keras"}
    allowed = {"numpy", "pandas", *inside_functions, *sys.stdlib_module_names}
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert 1 <= node.level <= file.count("/") or (not node.level and node.module.split(".")[0] in allowed)
    assert {name.split(".")[0] for name in imported(file, at_once=True)} & inside_functions == set()


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DECLARATIONS = (ast.Import, ast.ImportFrom, *FUNCTIONS, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.AugAssign)
COMPLETING = ("ExperimentLoader.add_implicit_resolver(", "app.add_typer(")


def test_a_module_only_declares():
    """No statement at module level acts, but for those that complete a class or a table of the module itself."""

    def acting(file):
        return [
            ast.unparse(node)
            for node in TREES[file].body
            if not isinstance(node, DECLARATIONS)
            and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            and not (isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"))
            and not (isinstance(node, ast.Expr) and ast.unparse(node).startswith(COMPLETING))
        ]

    assert offenders(acting, TREES.keys() - {"sweep/forkserver_preload.py"}) == {}  # which is there to act


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
    assert {"gridcast.sweep.runner", "gridcast.tracking.registry", "gridcast.runtime.forecaster"} <= set(light)
    touched, loaded = after_import(tmp_path, *light)
    assert touched == []
    assert loaded & HEAVY == set()


def test_no_pictures_backend_is_chosen_by_an_import(tmp_path):
    code = "import gridcast.reporting.report, matplotlib; print(matplotlib.rcParams._get_backend_or_none())"
    done = warm_python.run([sys.executable, "-c", code], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "None\n")


def test_names_are_those_of_the_domain():
    avoided = {"utils", "helpers", "manager", "seq_len", "pred_len", "staging", "production"}

    def foreign(file):
        nodes = ast.walk(TREES[file])
        names = {getattr(node, field) for node in nodes for field in ("id", "arg", "name") if hasattr(node, field)}
        names = {name.lower() for name in names if isinstance(name, str)}
        return avoided & (names | set(file.removesuffix(".py").lower().split("/")))

    assert offenders(foreign) == {}


def test_no_class_name_stands_in_two_modules():
    owners = {}
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                owners.setdefault(node.name, set()).add(file)
    assert {name: files for name, files in owners.items() if len(files) > 1} == {}


def test_a_module_is_imported_under_its_own_name():
    def renamed(file):
        imports = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.ImportFrom)]
        ours = [node for node in imports if node.level or (node.module or "").split(".")[0] == "gridcast"]
        return [alias.name for node in ours for alias in node.names if alias.asname not in (None, alias.name)]

    assert offenders(renamed) == {}


DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)


def test_no_docstring_begins_with_a_relative_clause():
    """For example "What is read of ..." in place of "The rows of ..."."""

    def clauses(file):
        summaries = [ast.get_docstring(node) or "" for node in ast.walk(TREES[file]) if isinstance(node, DOCUMENTED)]
        return [text for text in summaries if text.split(" ")[0] in ("What", "Which", "Whoever", "Who")]

    assert offenders(clauses) == {}


LONGEST_FILE, LONGEST_FUNCTION = 400, 60
"""Lines."""


def test_files_and_functions_are_short():
    def too_long(file):
        functions = [node for node in ast.walk(TREES[file]) if isinstance(node, FUNCTIONS)]
        names = [node.name for node in functions if node.end_lineno - node.lineno >= LONGEST_FUNCTION]
        return names + [file] * ((ROOT / file).read_text().count("\n") > LONGEST_FILE)

    assert offenders(too_long) == {}
