"""Functions as plug-ins: the axes that one declares, the text that it consists of, and what a model cannot carry."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcast.config.configuration import AXES
from gridcast.runtime.errors import ConfigError

AxisValue = bool | int | float | str
"""A value of an axis that a network declares."""
RESERVED = (*AXES, "seed", "series", "fold", "horizon", "stride", "scale", "log1p", "epochs", "patience", "backend")
"""Names that a run's parameters in MLflow have already."""
PLAIN = (bool, int, float, str, bytes, type(None), tuple)


@dataclass(frozen=True)
class FunctionText:
    """The Python `text` that a function given in Python consists of, and its `file`.

    `attribute` is its name in that file, or it is `pickled`: of a notebook or a script, whose text cannot be run.
    """

    file: str
    text: str
    attribute: str = ""
    pickled: bytes = b""


def declared_axes(where: str, name: str, function: Callable[..., Any]) -> tuple[tuple[str, AxisValue], ...]:
    """Return the axes of the network `name` with their defaults: the keyword arguments of its encoder.

    Raises ConfigError, which begins with `where`, for an encoder that cannot be called as it must be.
    """
    form = "def encoder(sequence, configuration, *, kernel=3)"
    try:
        arguments = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: network '{name}' must be a function such as {form}, got {function!r}") from None
    needed = [argument.name for argument in arguments if argument.default is argument.empty]
    positional = [argument for argument in arguments[:2] if argument.kind in (0, 1) and argument.name in needed]
    if len(positional) != 2 or len(needed) != 2:
        raise ConfigError(
            f"{where}: network '{name}' must take a sequence and a configuration, and may have arguments with defaults "
            f"as axes of its own: {form} (it takes {', '.join(map(str, arguments)) or 'nothing'})"
        )
    for argument in arguments[2:]:
        if argument.name in RESERVED:
            raise ConfigError(
                f"{where}: network '{name}': {argument.name} is a setting of every run; read it as "
                f"configuration.{argument.name}, or call the argument otherwise"
            )
        if type(argument.default) not in (bool, int, float, str):
            raise ConfigError(
                f"{where}: network '{name}': the default of {argument.name} must be a number, true or false, or text, "
                f"got {argument.default!r}"
            )
    return tuple((argument.name, argument.default) for argument in arguments[2:])


def checked_axis_value(where: str, default: AxisValue, value: object) -> AxisValue:
    """Return `value` of an axis with this `default`, of the same type. Raises ValueError."""
    if type(value) is type(default):
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    kinds = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
    raise ValueError(f"{where}: must be {kinds[type(default)]}, as its default {default!r} (got {value!r})")


def check_carried(text: str, file: str) -> None:
    """Raise ConfigError, with the line, for an import in the source `text` that a model could not carry.

    These are gridcast, without which a model loads, and modules that lie beside the file instead of being installed.
    """
    for node in ast.parse(text).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        for root in {name.partition(".")[0] for name in names}:
            where = f"{file}, line {node.lineno}"
            if root == "gridcast":
                raise ConfigError(
                    f"{where}: a network's code travels in its model, which loads without gridcast; import gridcast "
                    "inside the function that needs it, or keep that function in another plug-in file"
                )
            if _lies_beside(root, Path(file)):
                raise ConfigError(
                    f"{where}: {root} is a file of this project and does not travel in a model with the network; write "
                    "its code into the plug-in file, or install it as a package"
                )


def _lies_beside(module: str, file: Path) -> bool:
    if module in sys.stdlib_module_names or module in sys.builtin_module_names:
        return False
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin or "-packages" in spec.origin:
        return False
    return any(Path(spec.origin).resolve().is_relative_to(folder.resolve()) for folder in (file.parent, Path.cwd()))


def function_text(function: Any, where: str) -> FunctionText:
    """Return what a function given in Python consists of. Raises ConfigError, which begins with `where`."""
    if not isinstance(function, types.FunctionType):
        raise ConfigError(f"{where}: expected a function, got {function!r}")
    file = inspect.getsourcefile(function) or ""
    module = sys.modules.get(function.__module__)
    is_global = function.__qualname__.isidentifier() and getattr(module, function.__qualname__, None) is function
    if function.__module__ != "__main__" and is_global and Path(file).is_file():
        return FunctionText(file, Path(file).read_text(encoding="utf-8"), function.__qualname__)
    import cloudpickle

    parts: dict[str, str] = {}
    _collect_text(function, where, parts)
    text = "\n".join(f"# {name}\n{parts[name]}" for name in sorted(parts))
    return FunctionText(file or "notebook", text, pickled=cloudpickle.dumps(function))


def _collect_text(item: Any, where: str, parts: dict[str, str]) -> None:
    """Add the source of a function or class, and of all that it uses and that is defined beside it, to `parts`."""
    try:
        parts[item.__qualname__] = inspect.getsource(item)
    except (OSError, TypeError):
        raise ConfigError(f"{where}: the source of {item!r} cannot be read; define it in a file") from None
    functions = [item] if isinstance(item, types.FunctionType) else vars(item).values()
    for function in functions:
        if not isinstance(function, types.FunctionType):
            continue
        variables = inspect.getclosurevars(function)
        for name, value in {**variables.globals, **variables.nonlocals}.items():
            if isinstance(value, PLAIN):
                parts[name] = repr(value)
            elif isinstance(value, types.FunctionType | type) and value.__module__ == item.__module__:
                if value.__qualname__ not in parts:
                    _collect_text(value, where, parts)
            elif not isinstance(value, types.ModuleType | types.FunctionType | types.BuiltinFunctionType | type):
                raise ConfigError(
                    f"{where}: it reads {name}, a {type(value).__name__}, whose value cannot be part of a run key; "
                    "give it as an argument with a default, or define the function in a file"
                )
