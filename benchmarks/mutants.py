"""Mutation checks: how many small errors, put into the modules that a verdict rests on, their own tests find.

    .venv/bin/python benchmarks/mutants.py [MODULE ...] [--limit N]

Each mutant is one change to the source of one module: a comparison, a boolean or an arithmetic operator, a number, True
or False, a sign, a `not`, an axis; or one of the changes that mutants.toml names. The tests of that module alone, as
listed there, run against it in a process forked from one in which the heavy packages are loaded. A mutant whose tests
fail, or take too long, is killed. Of a module with more than N mutants (60) as many are drawn, by a seed. Survivors are
printed, with the reason in mutants.toml where no test can tell them from the original. Ends with 1 where less than 90 %
are killed, or a named one is not. Records each module in benchmarks/recorded/mutants.json.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

FOLDER = Path(__file__).resolve().parent
SOURCE, TEST_ROOT, RECORDED = FOLDER.parent / "src/gridcast", FOLDER.parent / "tests", FOLDER / "recorded/mutants.json"
PLAN = tomllib.loads((FOLDER / "mutants.toml").read_text())
PRELOADED = ("pytest", "scipy.stats", "statsmodels.api", "mlflow", "sklearn.metrics", "openpyxl", "yaml", "holidays")
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
}  # fmt: skip
LEFT_OUT = {"annotation", "returns", "decorator_list", "format_spec", "exc"}
"""Parts of the syntax that are not mutated: types, decorators, formats, errors with their messages."""


def main() -> None:
    """Check the modules and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(PLAN['tests'])}")
    parser.add_argument("--limit", type=int, default=60)
    options = parser.parse_args()
    for name in PRELOADED:
        importlib.import_module(name)
    rows, missed = {}, False
    with tempfile.TemporaryDirectory(prefix="gridcast-mutants-") as folder:
        sys.pycache_prefix, sys.dont_write_bytecode = folder, False
        for module in options.modules or PLAN["tests"]:
            rows[module] = row = check(module, options.limit, Path(folder))
            recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
            RECORDED.write_text(json.dumps(recorded | {module: row}, indent=1, ensure_ascii=False) + "\n")
            print_row(module, row["mutants"], row["killed"], f"{row['seconds']:7} s")
            for survivor in row["survivors"]:
                print(f"    {survivor['mutant']}  {survivor['reason']}".rstrip(), flush=True)
                missed |= survivor["mutant"].startswith("named: ")
    mutants, killed = (sum(row[name] for row in rows.values()) for name in ("mutants", "killed"))
    print_row("all", mutants, killed)
    sys.exit(1 if missed or killed < 0.9 * mutants else 0)


def print_row(title: str, mutants: int, killed: int, seconds: str = "") -> None:
    print(f"{title:30}{mutants:5} mutants{killed:5} killed{killed / mutants:8.1%}{seconds}", flush=True)


def check(module: str, limit: int, folder: Path) -> dict[str, Any]:
    """Return how many mutants of `module` there are, how many its tests kill, and the survivors."""
    started, path = time.perf_counter(), SOURCE / f"{module}.py"
    text = path.read_text()
    for _ in range(2):  # the first one compiles all modules
        begun = time.perf_counter()
        if exit_code(module, compile(text, path, "exec"), folder, 600.0):
            sys.exit(f"{module}: its tests fail without any change\n{(folder / 'output').read_text()}")
    longest = 10 + 5 * (time.perf_counter() - begun)
    trees = list(mutants(text))
    if len(trees) > limit:
        trees = random.Random(module).sample(trees, limit)
    codes = [(name, compile(tree, path, "exec")) for name, tree in trees]
    for title, changes_of in PLAN["named"].items():
        codes += [
            (f"named: {title}: {old} to {new}", compile(text.replace(old, new), path, "exec"))
            for of, old, new in changes_of
            if of == module
        ]
    survivors = [name for name, code in codes if not exit_code(module, code, folder, longest)]
    reasons = PLAN["equivalent"].get(module, {})
    return {
        "mutants": len(codes),
        "killed": len(codes) - len(survivors),
        "survivors": [{"mutant": name, "reason": reasons.get(name, "")} for name in survivors],
        "seconds": round(time.perf_counter() - started),
    }


def mutants(text: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each mutant of the source `text`: its line and its change, and its tree."""
    lines, tree = text.splitlines(), ast.parse(text)
    for place, node in enumerate(nodes(tree)):
        for change, _ in enumerate(changes(node)):
            mutant = copy.deepcopy(tree)
            target = next(other for k, other in enumerate(nodes(mutant)) if k == place)
            before, (name, key, value) = ast.unparse(target), list(changes(target))[change]
            setattr(target, key, value)
            yield f"{lines[node.lineno - 1].strip()} | {name} in {before}", ast.fix_missing_locations(mutant)


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree that may be changed."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in LEFT_OUT or (isinstance(node, ast.keyword) and node.arg in ("strict", "axis")):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from nodes(child)


def changes(node: ast.AST) -> Iterator[tuple[str, str, Any]]:
    """Yield the changes to make of `node`: a name, and the field to set to which value."""
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            flipped = [SWAPS[type(op)]() if k == place else other for k, other in enumerate(node.ops)]
            yield f"{type(op).__name__} to {type(flipped[place]).__name__}", "ops", flipped
    elif isinstance(node, ast.BoolOp | ast.BinOp | ast.AugAssign) and type(node.op) in SWAPS:
        operator = SWAPS[type(node.op)]
        yield f"{type(node.op).__name__} to {operator.__name__}", "op", operator()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not removed", "operand", ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "minus removed", "op", ast.UAdd()
    elif isinstance(node, ast.keyword) and node.arg == "axis" and isinstance(node.value, ast.Constant):
        axis = 0 if node.value.value else 1
        yield f"axis={axis}", "value", ast.Constant(axis)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield f"to {value}", "value", value


class Mutated(SourceFileLoader):
    """Import hook that finds one module and loads it from other code."""

    def __init__(self, module: str, code: CodeType) -> None:
        super().__init__(f"gridcast.{module.replace('/', '.')}", str(SOURCE / f"{module}.py"))
        self.code = code

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def exit_code(module: str, code: CodeType, folder: Path, longest: float) -> int:
    """Return the exit code of the tests of `module`, run in a forked process with `code` in its place; 1 if too long."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        os._exit(run_tests(module, code, folder))
    watched = os.pidfd_open(child)
    is_done = bool(select.select([watched], [], [], longest)[0])
    os.close(watched)
    if not is_done:
        os.killpg(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status) if is_done else 1


def run_tests(module: str, code: CodeType, folder: Path) -> int:
    """Run the tests of `module` with `code` in its place, and return pytest's exit code."""
    import pytest  # noqa: PLC0415 - it is loaded by then

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, str(SOURCE.parent))
    sys.meta_path.insert(0, Mutated(module, code))  # type: ignore[arg-type]
    files = [str(TEST_ROOT / f"{name}.py") for name in PLAN["tests"][module]]
    options = ["-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-m", "not slow"]
    options += ["-k", f"not ({' or '.join(PLAN['left_out'])})"]
    return int(pytest.main([*options, f"--rootdir={TEST_ROOT.parent}", f"--basetemp={folder / 'pytest'}", *files]))


if __name__ == "__main__":
    main()
