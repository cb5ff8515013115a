"""The pieces of work of a sweep."""

import pytest

from gridcast.sweep.task import baseline_tasks, group_tasks, run_tasks
from small_experiments import SMALL, planned, sales


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    grid = {"units": [8, 32], "learning_rate": [0.01, 0.003, 0.001], "dropout": [0.1, 0.2, 0.3]}
    return planned(tmp_path_factory.mktemp("work"), sales(130), **SMALL, grid=grid)


def made(plan, workers):
    return group_tasks(plan, run_tasks(plan, plan.runs, 4) + baseline_tasks(plan, {}, {}), workers)


def of_units(groups, units):
    return [group for group in groups if group.family and group.family.configuration.units == units]


def test_each_run_is_in_one_group_and_the_dearest_come_first(plan):
    groups = made(plan, 2)
    keys = [task.key for group in groups for task in group.tasks if task.kind == "run"]
    assert sorted(keys) == sorted(plan.runs)
    costs = [group.cost for group in groups]
    assert costs == sorted(costs, reverse=True)


def test_runs_go_alone_where_one_trains_at_a_time_and_in_turns_where_four_do(plan):
    groups = made(plan, 2)
    assert [len(group.tasks) for group in of_units(groups, 32)] == [1] * 9
    assert sorted(len(group.tasks) for group in of_units(groups, 8)) == [4, 5]


def test_every_worker_has_some_of_the_siblings(plan):
    assert [len(group.tasks) for group in of_units(made(plan, 9), 8)] == [1] * 9


def test_siblings_know_how_many_they_are_and_baselines_have_no_family(plan):
    groups = made(plan, 2)
    assert {group.siblings for group in of_units(groups, 8)} == {9}
    assert {group.family for group in groups if group.tasks[0].kind == "baseline"} == {None}
