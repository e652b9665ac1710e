"""A folder is a menu: what lies in it is what can be chosen.

`names(package)` lists without importing; `load(package, name)` imports the one that was chosen. Files whose name
begins with an underscore are parts of the others, not choices.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from importlib.util import find_spec
from types import ModuleType

from scanner.errors import SettingsError, meant


def names(package: str) -> tuple[str, ...]:
    """The choices in a plugin folder, sorted. `package` is dotted, for example "scanner.formats"."""
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise SettingsError(f"{package} is not a plugin folder")
    found = (m.name for m in pkgutil.iter_modules(spec.submodule_search_locations))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """Import one choice; an unknown name is answered with the nearest known one."""
    if not name.startswith("_") and (loaded := sys.modules.get(f"{package}.{name}")):
        return loaded
    known = names(package)
    if name not in known:
        kind = package.rsplit(".", 1)[-1].removesuffix("s")
        raise SettingsError(f"there is no {kind} {name!r}; known are {', '.join(known)}.{meant([name], known)}")
    return importlib.import_module(f"{package}.{name}")


def load_all(package: str) -> dict[str, ModuleType]:
    """Every choice of a folder, imported, by name."""
    return {name: importlib.import_module(f"{package}.{name}") for name in names(package)}
