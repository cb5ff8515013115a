"""Plug-ins: what a file may list, what becomes of it in the grid and in run keys, and how a wrong one is refused."""

import importlib
import pickle
import sys
import types

import pytest
import yaml

from gridcast import config
from gridcast.config import grid, plugins
from gridcast.runtime.errors import ConfigError
from small_experiments import settings

TEXT = """
LEVELS = 2

def tcn(sequence, configuration, *, kernel=3, gain=1.0, causal=True):
    return sequence, kernel

def drift(task):
    return task

NETWORKS = {"TCN": tcn}
BASELINES = {"drift": drift}
"""
OWN = plugins.from_text("own.py", TEXT)


def parsed(own=OWN, **sections):
    return config.parse(yaml.safe_dump(settings(**sections)), "shop.yaml", own)


def fault(own=OWN, **sections):
    with pytest.raises(ConfigError) as caught:
        parsed(own, **sections)
    return str(caught.value)


def test_arguments_with_defaults_are_axes_of_that_network_alone():
    experiment = parsed(grid={"layer": ["GRU", "TCN"], "kernel": [2, 4], "gain": [2], "attention": [False, True]})
    found = sorted(((one.layer, one.attention, one.own) for one in grid.configurations(experiment)), key=str)
    assert found == [
        ("GRU", False, {}),
        ("GRU", True, {}),
        ("TCN", False, {"kernel": 2, "gain": 2.0, "causal": True}),
        ("TCN", False, {"kernel": 4, "gain": 2.0, "causal": True}),
    ]
    assert grid.axes(experiment) == ("layer", "attention", "kernel")


def test_a_setting_of_the_baseline_section_takes_the_place_of_the_default():
    experiment = parsed(baseline={"kernel": 5}, grid={"layer": ["GRU", "TCN"]})
    assert [one.value("kernel") for one in grid.configurations(experiment)] == [None, 5]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"grid": {"layer": ["TCM"]}}, "grid.layer[0]: 'TCM' is not allowed; did you mean 'TCN'?"),
        ({"grid": {"layer": ["TCN"], "kernl": [3]}}, "grid.kernl: unknown key; did you mean 'kernel'?"),
        ({"grid": {"layer": ["TCN"], "kernel": [3, 2.5]}}, "grid.kernel[1]: must be an integer, as its default 3"),
        ({"grid": {"layer": ["TCN"], "causal": [1]}}, "grid.causal[0]: must be true or false, as its default True"),
        ({"grid": {"layer": ["TCN"], "gain": ["x"]}}, "grid.gain[0]: must be a number, as its default 1.0 (got 'x')"),
        ({"grid": {"kernel": [3, 4]}}, "grid.kernel: belongs to layer TCN, and only GRU is trained with it"),
        (
            {"grid": {"layer": ["TCN"], "attention": [True]}},
            "grid.attention: belongs to layer GRU or LSTM, and only TCN is trained with it",
        ),
        ({"training": {"callbacks": ["halve"]}}, "training.callbacks[0]: 'halve' is no plug-in (there are none)"),
    ],
)
def test_a_wrong_name_or_value_is_refused_with_its_place(sections, expected):
    assert fault(**sections).startswith(f"shop.yaml: {expected}")


def test_without_its_file_the_name_of_a_network_is_refused_with_the_remedy_and_may_still_be_read():
    sections = {"grid": {"layer": ["GRU", "TCN"], "kernel": [2, 3]}}
    assert "--plugin FILE" in fault(config.NO_PLUGINS, **sections)
    assert parsed(config.LENIENT, **sections).configuration(layer="TCN", kernel=2).kernel == 2


def test_run_keys_contain_a_plug_in_only_where_it_is_used():
    def keys(own, layers):
        experiment = parsed(own, grid={"layer": layers})
        runs = grid.expand(experiment)
        return [grid.run_key(experiment, run, fingerprint="f", backend="jax") for run in runs]

    changed = plugins.from_text("own.py", TEXT + "# changed\n")
    assert keys(OWN, ["GRU"]) == keys(config.NO_PLUGINS, ["GRU"])
    before, after = keys(OWN, ["GRU", "TCN"]), keys(changed, ["GRU", "TCN"])
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    assert keys(plugins.from_text("elsewhere/own.py", TEXT), ["TCN"]) == keys(OWN, ["TCN"])


def test_another_process_gets_texts_and_runs_them_when_a_function_is_needed():
    name = OWN.networks["TCN"].function.__module__
    content = pickle.dumps(parsed(grid={"layer": ["TCN"]}))
    del sys.modules[name]
    read = pickle.loads(content)
    assert name not in sys.modules
    assert read.plugins.networks["TCN"].function("s", None, kernel=7) == ("s", 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def tcn(:\n    pass\n", "own.py, line 1: not valid Python"),
        ("x = 1\ny = x / 0\n", "own.py, line 2: ZeroDivisionError: division by zero"),
        ("x = 1\n", "own.py: lists no plug-in; name its functions in one of NETWORKS, BASELINES"),
        ("NETWORKS = ['TCN']\n", "own.py: NETWORKS must be a dictionary of functions by name, got ['TCN']"),
        ("NETWORKS = {'TCN': 3}\n", "own.py: NETWORKS['TCN'] must be a function, got 3"),
        (
            "def f(s, c):\n    pass\nNETWORKS = {'GRU': f}\n",
            "own.py, line 1: network 'GRU' has the name of one of grid",
        ),
        ("\ndef f(s):\n    pass\nNETWORKS = {'T': f}\n", "own.py, line 2: network 'T' must take a sequence and a conf"),
        ("def f(s, c, k):\n    pass\nNETWORKS = {'T': f}\n", "own.py, line 1: network 'T' must take a sequence and a"),
        (
            "def f(s, c, units=3):\n    pass\nNETWORKS = {'T': f}\n",
            "own.py, line 1: network 'T': units is a setting of",
        ),
        (
            "def f(s, c, k=[]):\n    pass\nNETWORKS = {'T': f}\n",
            "own.py, line 1: network 'T': the default of k must be",
        ),
        ("import gridcast\ndef f(s, c):\n    pass\nNETWORKS = {'T': f}\n", "own.py, line 1: a network's code travels"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_file_and_line(text, expected):
    with pytest.raises(ConfigError) as caught:
        plugins.from_text("own.py", text)
    assert str(caught.value).startswith(expected)


def test_a_file_beside_a_network_does_not_travel_with_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "blocks.py").write_text("x = 1\n")
    path = tmp_path / "own.py"
    path.write_text(f"import math\nfrom blocks import x\n{TEXT}")
    with pytest.raises(ConfigError, match="line 2: blocks is a file of this project"):
        plugins.from_file(path)
    with pytest.raises(ConfigError, match=r"ows\.py: no such plug-in file; did you mean 'own\.py'\?"):
        plugins.from_file(tmp_path / "ows.py")


def test_two_files_with_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"other\.py, line 4: network 'TCN' is also in own\.py, line 4; rename one"):
        OWN.joined(plugins.from_text("other.py", TEXT + "\n"))
    assert OWN.joined(OWN) == OWN


def test_a_function_of_a_module_takes_the_text_of_its_module_along(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_networks.py").write_text(TEXT)
    own_networks = importlib.import_module("own_networks")

    given = plugins.from_functions(networks={"mine": own_networks.tcn}).networks["mine"]
    assert (given.source.digest, given.axes) == (OWN.networks["TCN"].source.digest, OWN.networks["TCN"].axes)
    assert given.function("s", None) == ("s", 3)
    assert list(given.source.carried_files.values()) == [TEXT.encode()]


def test_a_function_of_a_notebook_reaches_other_processes_but_no_model():
    def scale():
        return LEVEL

    def build(sequence, configuration, *, kernel=3):
        return sequence, kernel + scale()

    LEVEL = 2  # noqa: N806 - a constant of the notebook
    before = plugins.from_functions(networks={"mine": build}).networks["mine"]
    LEVEL = 3  # noqa: N806
    after = plugins.from_functions(networks={"mine": build}).networks["mine"]
    assert pickle.loads(pickle.dumps(before)).function("s", None) == ("s", 5)
    assert (before.source.carried_files, before.key == after.key) == ({}, False)


def test_a_function_that_reads_an_object_of_the_notebook_is_refused():
    memory = types.SimpleNamespace(level=2)

    def build(sequence, configuration):
        return memory

    with pytest.raises(ConfigError, match="it reads memory, a SimpleNamespace"):
        plugins.from_functions(networks={"mine": build})


def test_an_installed_package_brings_plug_ins_by_entry_points(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_networks.py").write_text(TEXT)
    information = tmp_path / "their_networks-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their_networks\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[gridcast.networks]\nWave = their_networks:tcn\n")
    found = config.NO_PLUGINS.with_installed("networks", ["Wave", "TCN"])
    assert (list(found.networks), dict(found.networks["Wave"].axes)["kernel"]) == (["Wave"], 3)
    assert found.networks["Wave"].function("s", None) == ("s", 3)
    assert config.NO_PLUGINS.with_installed("networks", ["Other"]) == config.NO_PLUGINS
