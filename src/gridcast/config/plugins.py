"""Networks, baselines, metrics and Keras callbacks that an experiment names and gridcast does not have: plug-ins.

They come from a Python file, from an installed package, or from dictionaries given in Python. A file lists them in
dictionaries by name, and needs nothing of gridcast:

    def tcn(sequence, configuration, *, kernel=3):  # an encoder; `kernel` becomes an axis of the grid
        ...
        return features

    NETWORKS = {"TCN": tcn}
    BASELINES = {"drift": drift}
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import pickle
import re
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from gridcast.config.configuration import BUILT_IN_LAYERS
from gridcast.config.plugin_function import FunctionText, check_carried, declared_axes, function_text
from gridcast.config.selection_metrics import Metric, as_metric
from gridcast.runtime import plugin_code
from gridcast.runtime.errors import ConfigError, suggest

TABLES = {"networks": "NETWORKS", "baselines": "BASELINES", "metrics": "METRICS", "callbacks": "CALLBACKS"}
"""The dictionary of a plug-in file that lists each kind of plug-in; also, after `gridcast.`, the entry points."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*( [A-Za-z0-9_.-]+)*")
"""Form of a plug-in's name."""


@dataclass(frozen=True)
class PluginSource:
    """The code of plug-ins: the `text` of a Python file at `file`; or `pickled`, a function of a notebook or script.

    A pickled function reaches other processes in that form, and is never part of a model.
    """

    file: str
    text: str
    pickled: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def carried_files(self) -> dict[str, bytes]:
        """The file that travels in a model, by its name there; none of a pickled function."""
        return {} if self.pickled else {f"{plugin_code.module_name(self.text)}.py": self.text.encode()}


@dataclass(frozen=True)
class Plugin:
    """A plug-in of one `kind`, a key of TABLES, under its `name`; `line` is where its function begins.

    `axes` are names and defaults of a network's own settings. `attribute` is the function's name in its module, if the
    module does not list it. Only names and texts are held, so that an experiment with plug-ins can be sent to another
    process; the code runs there when `function` is read first.
    """

    kind: str
    name: str
    source: PluginSource
    line: int = 1
    axes: tuple[tuple[str, bool | int | float | str], ...] = ()
    attribute: str = ""

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.source.file}, line {self.line}"

    @property
    def key(self) -> dict[str, str]:
        """The part of a run key that stands for it: its name and the digest of its source."""
        return {"name": self.name, "source": self.source.digest}

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        if self.source.pickled:
            return _unpickled(self.source.pickled)
        module = plugin_code.import_source(self.source.text, self.source.file)
        found: Any = (
            functools.reduce(getattr, self.attribute.split("."), module)
            if self.attribute
            else getattr(module, TABLES[self.kind])[self.name]
        )
        return found


@dataclass(frozen=True)
class Plugins:
    """Plug-ins by name, of each kind, and their `source` texts.

    With `is_lenient` unknown names of networks and axes are accepted: for reading an experiment of which no network is
    built.
    """

    networks: Mapping[str, Plugin] = field(default_factory=dict)
    baselines: Mapping[str, Plugin] = field(default_factory=dict)
    metrics: Mapping[str, Plugin] = field(default_factory=dict)
    callbacks: Mapping[str, Plugin] = field(default_factory=dict)
    source: tuple[PluginSource, ...] = ()
    is_lenient: bool = False

    @property
    def axes(self) -> dict[str, bool | int | float | str]:
        """The own settings of all networks, with their defaults."""
        return {axis: default for network in self.networks.values() for axis, default in network.axes}

    @property
    def metric_functions(self) -> dict[str, Metric]:
        """The metrics by name; the attribute `direction` of a function says whether `higher` values are better."""
        return {name: as_metric(plugin.function) for name, plugin in self.metrics.items()}

    def of_layer(self, layer: str) -> dict[str, Any]:
        """Return the own settings of the network `layer` with their defaults; none of a built-in one."""
        return dict(self.networks[layer].axes) if layer in self.networks else {}

    def joined(self, other: Plugins) -> Plugins:
        """Return the plug-ins of both. Raises ConfigError where they have a name in common."""
        tables: dict[str, dict[str, Plugin]] = {}
        for kind in TABLES:
            mine, others = getattr(self, kind), getattr(other, kind)
            for name in mine.keys() & others.keys():
                if mine[name] != others[name]:
                    raise ConfigError(
                        f"{others[name].where}: {_singular(kind)} '{name}' is also in {mine[name].where}; rename one"
                    )
            tables[kind] = {**mine, **others}
        source = tuple(dict.fromkeys((*self.source, *other.source)))
        return _of_tables(tables, source, is_lenient=self.is_lenient or other.is_lenient)

    def with_installed(self, kind: str, names: Collection[str]) -> Plugins:
        """Return these plug-ins and those of one `kind` among `names` that installed packages bring, if any.

        A package names them as entry points `gridcast.networks`, `gridcast.baselines` and so on, such as
        `TCN = "my_package.networks:tcn"`. Raises ConfigError where two have one name.
        """
        plugins = self
        for entry in installed(kind, names):
            plugins = plugins.joined(_from_entry_point(kind, entry))
        return plugins


NO_PLUGINS = Plugins()
LENIENT = Plugins(is_lenient=True)


def from_file(path: Path | str) -> Plugins:
    """Return the plug-ins that a Python file lists in NETWORKS, BASELINES, METRICS and CALLBACKS.

    The file is run: Keras, which it imports, must be on the right backend already. Raises ConfigError with file and
    line for what cannot be a plug-in.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = suggest(path.name, (other.name for other in path.parent.glob("*.py")))
        raise ConfigError(f"{path}: no such plug-in file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    return from_text(str(path), text)


def from_functions(
    *,
    networks: Mapping[str, Callable[..., Any]] | None = None,
    baselines: Mapping[str, Callable[..., Any]] | None = None,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    callbacks: Mapping[str, Callable[..., Any]] | None = None,
) -> Plugins:
    """Return functions given in Python as plug-ins.

    One that is defined in a module takes the text of its module along, so that its custom layers can travel in a model.
    One of a notebook or a script is sent to other processes as it is; its network must then be made of Keras's own
    layers. Raises ConfigError.
    """
    plugins = NO_PLUGINS
    given = {"networks": networks, "baselines": baselines, "metrics": metrics, "callbacks": callbacks}
    for kind, functions in given.items():
        for name, function in (functions or {}).items():
            text = function_text(function, f"{kind}[{name!r}]")
            source = PluginSource(text.file, text.text, text.pickled)
            if not text.pickled:
                _run(source)
            plugin = _plugin(kind, name, function, source, text)
            plugins = plugins.joined(_checked({kind: {name: plugin}}, source))
    return plugins


def from_text(file: str, text: str) -> Plugins:
    """Return the plug-ins that the text of a Python `file` lists, see `from_file`. Raises ConfigError."""
    source = PluginSource(file, text)
    module = _run(source)
    tables: dict[str, dict[str, Plugin]] = {kind: {} for kind in TABLES}
    for kind, table in TABLES.items():
        listed = getattr(module, table, {})
        if not isinstance(listed, Mapping) or not all(isinstance(name, str) for name in listed):
            raise ConfigError(f"{file}: {table} must be a dictionary of functions by name, got {listed!r}")
        tables[kind] = {name: _plugin(kind, name, function, source) for name, function in listed.items()}
    if not any(tables.values()):
        raise ConfigError(
            f"{file}: lists no plug-in; name its functions in one of {', '.join(TABLES.values())}, such as "
            "NETWORKS = {'TCN': tcn}"
        )
    return _checked(tables, source)


def installed(kind: str, names: Collection[str]) -> list[Any]:
    """Return the entry points of installed packages for plug-ins of one `kind` among `names`."""
    return [entry for entry in entry_points(group=f"gridcast.{kind}") if entry.name in names] if names else []


def _from_entry_point(kind: str, entry: Any) -> Plugins:
    """The plug-in that an entry point names. The text of its module is run under a name of its own."""
    where = f"the entry point gridcast.{kind}: {entry.name} = {entry.value}"
    try:
        spec = importlib.util.find_spec(entry.module)
    except ImportError as error:
        raise ConfigError(f"{where}: cannot be imported: {error}") from None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise ConfigError(f"{where}: {entry.module} is no Python file; name the module that defines the function")
    source = PluginSource(spec.origin, Path(spec.origin).read_text(encoding="utf-8"))
    module = _run(source)
    try:
        function = functools.reduce(getattr, entry.attr.split("."), module)
    except AttributeError:
        raise ConfigError(f"{where}: {spec.origin} has no {entry.attr}") from None
    plugin = dataclasses.replace(_plugin(kind, entry.name, function, source), attribute=entry.attr)
    return _checked({kind: {entry.name: plugin}}, source)


def _run(source: PluginSource) -> Any:
    """The module of a plug-in file. Raises ConfigError, with the line, for an error in it."""
    try:
        return plugin_code.import_source(source.text, source.file)
    except SyntaxError as error:
        raise ConfigError(f"{source.file}, line {error.lineno}: not valid Python: {error.msg}") from None
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises
        raise ConfigError(f"{raised_at(error, source.file)}: {type(error).__name__}: {error}") from None


def raised_at(error: BaseException, file: str, line: int | None = None) -> str:
    """Return `file` with the last line of it in the traceback of `error`, or with `line` if it is not in there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    number = lines[-1] if lines else line
    return f"{file}, line {number}" if number else file


def _plugin(kind: str, name: str, function: Any, source: PluginSource, text: FunctionText | None = None) -> Plugin:
    if not callable(function):
        raise ConfigError(f"{source.file}: {TABLES[kind]}[{name!r}] must be a function, got {function!r}")
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = code.co_firstlineno if code is not None else 1
    where = f"{source.file}, line {line}"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: the name {name!r} must be letters, digits, spaces, '_', '.' and '-'")
    if kind == "networks" and name in BUILT_IN_LAYERS:
        raise ConfigError(f"{where}: network '{name}' has the name of one of gridcast's own; give it another name")
    axes = declared_axes(where, name, function) if kind == "networks" else ()
    return Plugin(kind, name, source, line, axes, text.attribute if text else "")


def _of_tables(
    tables: Mapping[str, Mapping[str, Plugin]], source: tuple[PluginSource, ...], *, is_lenient: bool = False
) -> Plugins:
    networks, baselines, metrics, callbacks = (tables.get(kind, {}) for kind in TABLES)
    return Plugins(networks, baselines, metrics, callbacks, source, is_lenient=is_lenient)


def _checked(tables: Mapping[str, Mapping[str, Plugin]], source: PluginSource) -> Plugins:
    """The plug-ins of one source. Raises ConfigError where a network's code could not travel in a model."""
    plugins = _of_tables(tables, (source,))
    if plugins.networks and not source.pickled:
        check_carried(source.text, source.file)
    return plugins


def _singular(kind: str) -> str:
    return kind.removesuffix("s")


@functools.lru_cache(maxsize=64)
def _unpickled(content: bytes) -> Callable[..., Any]:
    function: Callable[..., Any] = pickle.loads(content)  # noqa: S301 - of the user's own process
    return function
