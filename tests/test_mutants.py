"""The mutation checks of the benchmarks: which changes they make, and that a test finds one."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_modules import load_benchmark

mutants = load_benchmark("mutants")

SOURCE = '''
def mean(values: list[float], least: int = 1) -> float:
    """Return the mean of 3 or more."""
    if not len(values) >= least and values:
        raise ValueError(f"give {least + 1} or more")
    return -sum(values, axis=1) / len(values)
'''


def test_a_mutant_differs_by_one_operator_or_constant_and_in_no_text_or_type():
    found = [(name.split(" | ")[1].split(" in ")[0], ast.unparse(tree)) for name, tree in mutants.mutants(SOURCE)]
    names = ["to 2", "And to Or", "not removed", "GtE to Gt", "Div to Mult", "minus removed", "axis=0"]
    assert [name for name, _ in found] == names
    original = ast.unparse(ast.parse(SOURCE)).splitlines()
    changed = [[line for line in text.splitlines() if line not in original] for _, text in found]
    assert [len(lines) for lines in changed] == [1] * len(names)
    assert "least: int=2" in changed[0][0]
    assert changed[4] == ["    return -sum(values, axis=1) * len(values)"]
    assert changed[6] == ["    return -sum(values, axis=0) / len(values)"]


def test_modules_and_their_tests_are_there():
    for module, tests in mutants.PLAN["tests"].items():
        assert (mutants.SOURCE / f"{module}.py").is_file()
        assert all((mutants.TEST_ROOT / f"{name}.py").is_file() for name in tests)
    for module, old, _ in (change for changes in mutants.PLAN["named"].values() for change in changes):
        assert (mutants.SOURCE / f"{module}.py").read_text().count(old) == 1
    for module, reasons in mutants.PLAN["equivalent"].items():
        text = (mutants.SOURCE / f"{module}.py").read_text()
        assert all(name.split(" | ")[0] in text for name in reasons)


@pytest.mark.slow
def test_tests_of_spans_find_what_is_wrong_with_them():
    program = Path(mutants.__file__)
    done = subprocess.run([sys.executable, program, "data/splits"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("data/splits")
