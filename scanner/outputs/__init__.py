"""A judged data set to files: the cleaned original, or the same rows in another form.

Every file of this folder offers NAME, DESCRIPTION, `targets(parts, out) -> list[Path]`, the file of each part, and
`write(parts, targets, settings, place) -> list[Output]`, which writes each under the temporary name that `place`
(see `scanner.writing.together`) has for it. With one input file `out` is the file to write, with several (or where
`out` is a folder) a folder with one file for each. What cannot be written there, `targets` refuses.
"""

from __future__ import annotations

from types import ModuleType

from scanner import plugins
from scanner.outputs._parts import Output as Output
from scanner.outputs._parts import Part as Part

PACKAGE = "scanner.outputs"


def load(name: str) -> ModuleType:
    """The output of that name."""
    return plugins.load(PACKAGE, name)
