"""The NAB score of the benchmarks, against what NAB published."""

import numpy as np
import pytest
from benchmark_modules import load_benchmark

nab_score = load_benchmark("nab_score")
N = np.nan


def alarms(steps, *at):
    flags = np.zeros(steps, bool)
    flags[list(at)] = True
    return flags


# Windows [start, end) as steps of three files of NAB's realTraffic, from its combined_windows.json.
SPEED, TRAVEL = (2500, [(2261, 2500)]), (2162, [(438, 655)])


@pytest.mark.parametrize(
    ("file", "at", "published"),
    [
        (SPEED, [2387], 0.8393187159363497),  # ARTime: one alarm, at 2015-09-17 07:05
        (SPEED, [900, 1000, 2386], 0.6226220017559383),  # bayesChangePt: two false alarms, and 07:00
        (TRAVEL, [948], -1.1097565965686436),  # bayesChangePt: a false alarm some time after the missed window
        (SPEED, [], -1.0),
    ],
)
def test_nab_scores_files_as_it_published_them_for_its_detectors(file, at, published):
    """Numbers of results/ARTime and results/bayesChangePt in github.com/numenta/NAB, standard profile."""
    steps, windows = file
    assert nab_score.file_score(alarms(steps, *at), windows) == pytest.approx(published, abs=1e-12)


def test_nab_counts_the_first_alarm_of_a_window_and_none_of_the_first_steps():
    once = nab_score.file_score(alarms(1000, 510), [(500, 600)])
    assert nab_score.file_score(alarms(1000, 510, 530, 590), [(500, 600)]) == once
    assert nab_score.file_score(alarms(1000, 100, 149, 510), [(500, 600)]) == once
    assert nab_score.file_score(alarms(1000, 150, 510), [(500, 600)]) == pytest.approx(once - 0.11)
    assert nab_score.file_score(alarms(10_000, 749), [(5000, 5100)]) == -1


def test_nab_is_100_for_a_perfect_detector_and_0_without_an_alarm():
    windows = [(500, 600), (800, 850)]
    assert nab_score.nab_score([(alarms(1000, 500, 800), windows)]) == pytest.approx(100)
    assert nab_score.nab_score([(alarms(1000), windows), (alarms(900), [(400, 500)])]) == 0
    assert nab_score.nab_score([(alarms(1000, 500, 800), windows), (alarms(900), [(400, 500)])]) == pytest.approx(
        200 / 3
    )
    assert nab_score.nab_score([(np.ones(1000, bool), windows)]) < 0
    with pytest.raises(ValueError, match="none has a window"):
        nab_score.nab_score([(alarms(100, 3), [])])


def test_the_best_nab_threshold_is_the_best_of_all():
    random = np.random.default_rng(2)
    files = []
    for windows in ([(300, 340), (500, 520)], [(250, 300)], []):
        score = np.round(random.gamma(2, size=600), 1)
        for start, end in windows:
            score[start:end] += 1.5
        score[::50] = N
        files.append((score, windows))
    best, threshold = nab_score.best_score(files)
    levels = np.unique(np.concatenate([score[np.isfinite(score)] for score, _ in files]))
    each = [nab_score.nab_score([(score >= level, windows) for score, windows in files]) for level in levels]
    assert best == pytest.approx(max(each))
    assert best > 0
    assert levels[np.argmax(each)] == threshold


def test_where_every_alarm_costs_no_alarm_at_all_is_best():
    score = np.zeros(600)
    score[200:250] = 1
    assert nab_score.best_score([(score, [(400, 410)])]) == (0.0, np.inf)
