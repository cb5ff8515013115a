"""The progress bar of a sweep, and the plain lines where there is no terminal."""

import io

import pytest
from rich.console import Console

from gridcast.api.progress import Progress, format_duration

METRICS = {"best_val_loss": 0.25, "epochs_trained": 12.0, "fit_seconds": 3.14}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.9, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert format_duration(seconds) == text


def printed(**console):
    out = Console(file=io.StringIO(), highlight=False, soft_wrap=True, **console)
    with Progress(out) as progress:
        progress.started(done=1, todo=3, cost=4.0)
        progress.finished("GRU-4", 1.0, METRICS)
        progress.finished("ridge", 1.0, None)
        progress.finished("GRU-8", 1.0, METRICS | {"best_val_loss": 0.5})
        progress.failed("LSTM-4", 1.0, "ValueError: no [good]")
    return out.file.getvalue()


def test_without_a_terminal_each_run_is_one_plain_line():
    lines = printed().splitlines()
    assert lines[0] == "  1 runs are finished already, 3 to go"
    assert lines[1].startswith("  1/3 GRU-4: val_loss 0.25000 in 12 epochs, 3.1 s; best val_loss 0.25000, ")
    assert lines[2].startswith("  2/3 GRU-8: val_loss 0.50000 in 12 epochs, 3.1 s; best val_loss 0.25000, ")
    assert lines[2].endswith(" left")
    assert lines[3:] == ["  failed: LSTM-4: ValueError: no [good]"]


def test_on_a_terminal_there_is_a_bar_with_runs_done_and_the_best_so_far():
    screen = printed(force_terminal=True, width=100)
    assert "3/3" in screen
    assert "best val_loss 0.25000, done" in screen
    assert " left" not in screen.splitlines()[-1]
    assert "failed: LSTM-4" in screen
    assert "1/3 GRU-4:" not in screen
