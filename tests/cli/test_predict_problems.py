"""What `gridcast predict` says of series that it could not forecast, and how it ends."""

from types import SimpleNamespace

import pytest

from gridcast.cli.predict import MAX_PROBLEMS_SHOWN, _report_problems
from gridcast.runtime.errors import GridcastError

MODEL = SimpleNamespace(too_short=("young",))


def test_each_fault_is_printed_and_the_exit_code_is_1(capsys):
    with pytest.raises(GridcastError, match=r"sales.csv: 2 series could not be forecast, see above") as failed:
        _report_problems({"pear": "series 'pear': is short", "plum": "series 'plum': has ended"}, MODEL, "sales.csv")
    assert failed.value.exit_code == 1
    assert capsys.readouterr().err == "  series 'pear': is short\n  series 'plum': has ended\n"


def test_what_was_left_out_of_training_is_said_and_no_failure(capsys):
    _report_problems({"young": "series 'young': was left out"}, MODEL, "sales.csv")
    _report_problems({}, SimpleNamespace(), "sales.csv")  # the preprocessing of a former version
    assert capsys.readouterr().err == "  series 'young': was left out\n"


def test_hundreds_of_faults_fit_a_screen(capsys):
    with pytest.raises(GridcastError, match="300 series"):
        _report_problems({str(k): f"series '{k}': is short" for k in range(300)}, MODEL, "sales.csv")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MAX_PROBLEMS_SHOWN + 1
    assert lines[-1] == "  and 290 more, see the column 'problem'"
