"""Experiment files of a size, depth or value that nobody means: one clear message, soon."""

import os
import re

import pytest
import yaml

from gridcast import config
from gridcast.runtime.errors import ConfigError, DataError
from gridcast.runtime.frequencies import is_possible
from small_experiments import settings

CONTENT = settings("sales.csv")
TEXT = yaml.safe_dump(CONTENT, sort_keys=False)
LEVELS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
)


def with_value(key, value):
    """The text of an experiment whose `key`, a dotted path, has this `value` in YAML."""
    sections = {name: dict(part) if isinstance(part, dict) else part for name, part in CONTENT.items()}
    section, _, name = key.rpartition(".")
    place = sections.setdefault(section, {}) if section else sections
    place[name] = "VALUE"
    return yaml.safe_dump(sections, sort_keys=False).replace("VALUE", value)


FAULTY = {
    "digits": (f"{TEXT}\nx: {'9' * 5000}", "line [0-9]+: not valid YAML: '9{40}' cannot be read as int"),
    "deep": (f"{TEXT}\nx: {'[' * 20000}{']' * 20000}", "more than 50 levels of lists and mappings"),
    "deep blocks": ("\n".join(f"{' ' * k}a:" for k in range(2000)), "more than 50 levels"),
    "aliases": (f"{TEXT}\n{LEVELS}\ny: *a8", "more than 50,000 values, repeated ones included"),
    "alias of itself": (f"{TEXT}\nx: &x [*x]", r"'\*x' stands within what it repeats"),
    "many keys": ("\n".join(f"k{k}: 1" for k in range(60_000)), "more than 50,000 values"),
    "unknown keys": (f"{TEXT}\n" + "\n".join(f"k{k}: 1" for k in range(30)), "and 10 more faults"),
    "tag int": (f"{TEXT}\nx: !!int abc", "'abc' cannot be read as int"),
    "tag bool": (f"{TEXT}\nx: !!bool maybe", "'maybe' cannot be read as bool"),
    "tag timestamp": (f"{TEXT}\nx: !!timestamp 2024-13-45", "'2024-13-45' cannot be read as timestamp"),
    "values of an axis": (
        with_value("grid.units", str(list(range(1, 30_000)))),
        "29,999 values are more than one axis",
    ),
    "seeds": (with_value("training.seeds", str(list(range(30_000)))), "training.seeds: must have at most 1000 items"),
    "not a list": (with_value("grid.units", "x" * 10**5), "grid.units: expected a list of values"),
    "version": (with_value("version", "true"), "version: 'True' is not allowed"),
    "encoding": (with_value("data.encoding", "zlib"), "data.encoding: 'zlib' is unknown"),
}
FAULTY |= {
    f"{key}: {value}": (with_value(key, value), key)
    for key, values in {
        "data.frequency": (
            "0D",
            "-1D",
            "00min",
            "1.5D",
            "5e400s",
            "99999999999999999999D",
            "1000000000W",
            "''",
            "'١D'",
        ),
        "training.epochs": ("100000000000000000000000", "true", ".nan", "1e3"),
        "training.max_minutes": (".inf", ".nan", "true"),
        "window.horizon": ("1000000000",),
        "window.lookback": ("1000000000", ".inf"),
        "search.budget": ("{minutes: .inf}", "{runs: 100000000000}"),
    }.items()
    for value in values
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_faulty_file_is_refused_in_a_short_message(case):
    text, message = FAULTY[case]
    with pytest.raises(ConfigError, match=message) as refused:
        config.parse(text, "own.yaml")
    assert max(map(len, str(refused.value).splitlines())) < 1200
    assert len(str(refused.value)) < 20_000


def test_the_limits_leave_real_files_alone():
    config.parse(with_value("grid.units", str(list(range(1, 2001)))))
    config.parse(f"\ufeff{TEXT}")
    names = ("min", "15min", "h", "D", "B", "W", "2W-SUN", "M", "Q", "QE-JAN", "BME", "100ms", "31536000s", "WOM-3FRI")
    assert [name for name in names if not is_possible(name)] == []


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "huge", "no text", "a name of no file"])
def test_what_is_no_experiment_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / f"{kind}.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "huge":
        path.write_text("x" * 2**21)
    elif kind == "no text":
        path.write_bytes(b"\xff\xfe\xfd")
    else:
        path = "\0" + "x" * 5000
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path)[:100])}"):
        config.read_text(path)


@pytest.mark.parametrize("source", ["/dev/zero", "fifo", "x" * 5000, "a\0b"])
def test_a_table_that_is_no_file_is_refused_at_once(tmp_path, monkeypatch, source):
    from gridcast.data import sources

    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    data = config.parse(TEXT).data.model_copy(update={"source": source})
    with pytest.raises(DataError, match="is a device or a pipe|no file matches"):
        sources.load_table(data)
