"""Ids of series: one text for the values of all key columns, and back."""

import random

import pandas as pd
import pytest

from gridcast.runtime.series_ids import find_id, plain_id, plain_ids, series_id, series_id_column, series_keys


def random_keys(seed):
    dice = random.Random(seed)
    return tuple("".join(dice.choices("ab/\\ é", k=dice.randrange(6))) for _ in range(dice.randint(1, 4)))


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (("apple",), "apple"),
        (("a/b\\c",), "a/b\\c"),  # the only key is the id as it stands
        (("north", "apple"), "north/apple"),
        (("a/b", "c"), "a\\/b/c"),
        (("a", "b/c"), "a/b\\/c"),
        (("a\\", "b"), "a\\\\/b"),
        (("", ""), "/"),
    ],
)
def test_keys_are_joined_by_slashes_and_their_own_slashes_are_escaped(keys, name):
    assert series_id(keys) == name
    assert series_keys(name, len(keys)) == keys


def test_keys_come_back_from_their_id_whatever_they_hold():
    drawn = {random_keys(seed) for seed in range(2000)}
    assert all(series_keys(series_id(keys), len(keys)) == keys for keys in drawn)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_different_keys_have_different_ids(count):
    drawn = {keys for keys in map(random_keys, range(4000)) if len(keys) == count}
    assert len({series_id(keys) for keys in drawn}) == len(drawn) > 100


@pytest.mark.parametrize(("name", "count"), [("a/b/c", 2), ("a", 2), ("a\\b/c", 2), ("a/b\\", 2)])
def test_a_text_that_is_no_id_of_so_many_keys_is_refused(name, count):
    with pytest.raises(ValueError, match="is no id of 2 keys"):
        series_keys(name, count)


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_the_ids_of_a_table_are_those_of_its_rows(dtype):
    table = pd.DataFrame({"shop": ["a/b", "a", "x"], "product": ["c", "b/c", "y\\"]}, dtype=dtype)
    expected = [series_id(row) for row in table.itertuples(index=False)]
    assert series_id_column([table["shop"], table["product"]]).tolist() == expected
    assert series_id_column([table["shop"]]).tolist() == ["a/b", "a", "x"]
    assert series_id_column([pd.Series([1, 2]), pd.Series([3, 4])]).tolist() == ["1/3", "2/4"]


def test_a_plain_id_is_the_join_of_former_versions():
    assert plain_id(series_id(("a/b", "c\\")), 2) == "a/b/c\\"
    assert plain_id("a\\/b", 1) == "a\\/b"  # a key of its own, not an escape
    assert plain_id("a\\b/c", 2) == "a\\b/c"  # plain already


def test_plain_ids_that_would_coincide_keep_their_escapes():
    names = [series_id(keys) for keys in (("a/b", "c"), ("a", "b/c"), ("d/e", "f"))]
    assert plain_ids(names, 2) == (names[0], names[1], "d/e/f")


def test_a_series_is_found_by_its_plain_id_in_a_model_of_a_former_version():
    name = series_id(("a/b", "c"))
    assert find_id(name, [name, "a/b/c"], 2) == name
    assert find_id(name, ["a/b/c"], 2) == "a/b/c"
    assert find_id(name, ["a/b/d"], 2) is None
