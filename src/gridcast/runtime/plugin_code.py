"""Source code of plug-ins that travels in a model: imported under a name of its own, and its layers found by Keras.

A plug-in is a Python file. Its module is named by the digest of its text, so that several versions of it live in one
process without replacing each other's classes.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "gridcast_plugin_"
"""Of the names of these modules, and of their files in a model."""
_LOCK = threading.RLock()


def module_name(text: str) -> str:
    """Return the name of the module with the source `text`."""
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()[:12]


def files_in(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return those of the `files` of a model, by name, that are code of plug-ins."""
    return {name: content for name, content in files.items() if name.startswith(PREFIX)}


def import_source(text: str, file: str) -> ModuleType:
    """Return the module with the source `text`, imported once in a process; `file` is its path in tracebacks.

    Raises whatever the code raises.
    """
    name = module_name(text)
    with _LOCK:
        if name in sys.modules:
            return sys.modules[name]
        module = ModuleType(name)
        module.__file__ = file
        sys.modules[name] = module
        try:
            exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 - the user's own code, or a model's
        except BaseException:
            del sys.modules[name]
            raise
        return module


@contextlib.contextmanager
def carried_layers(folder: Path) -> Iterator[None]:
    """Context in which Keras finds the classes and functions of the plug-ins whose files lie in `folder`."""
    files = sorted(folder.glob(f"{PREFIX}*.py"))
    if not files:
        yield
        return
    with layers_of(import_source(path.read_text(encoding="utf-8"), str(path)) for path in files):
        yield


@contextlib.contextmanager
def layers_of(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Context in which Keras finds the classes and functions that `modules` define, by class or registered name."""
    import keras

    objects: dict[str, Any] = {}
    for module in modules:
        defined = [item for item in vars(module).values() if getattr(item, "__module__", None) == module.__name__]
        for item in filter(callable, defined):
            objects |= {item.__name__: item, keras.saving.get_registered_name(item): item}
    registered = keras.saving.get_custom_objects()
    with _LOCK:
        # Keras would take what is registered under these names, perhaps by another version of the plug-in.
        hidden = {name: registered.pop(name) for name in objects.keys() & registered.keys()}
        try:
            with keras.saving.custom_object_scope(objects):
                yield
        finally:
            registered.update(hidden)
