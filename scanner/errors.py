"""What can go wrong, as a tree; every message says what happened, what was seen, what was expected and what to do.

    ScanError
    ├── InputError          a file that cannot be read, or holds nothing to audit
    │   ├── EmptyError      it holds no record
    │   ├── FormatError     its format is unknown or broken
    │   └── LayoutError     its records fit no known layout
    ├── SettingsError       an option or a scan.toml entry that makes no sense
    ├── RuleError           a rule file that breaks its contract
    ├── RunError            a run folder that is missing, incomplete or of another input
    │   └── ChangedInputError    the data changed since the audit
    ├── ModelError          a language model that cannot be loaded or does not suit
    ├── BrakeError          the plan would remove more than --max-removal-share allows
    └── OutputError         a cleaned file that cannot be written faithfully

The library raises these; only cli.py turns them into exit codes. Values of the user's data never stand in a
message: types, lengths and positions do.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal
import traceback
from collections.abc import Iterable
from pathlib import Path


class ScanError(Exception):
    """Base of all errors that sftscan raises on purpose."""

    exit_code = 1


class InputError(ScanError):
    """A file that cannot be read, or holds nothing to audit."""


class EmptyError(InputError):
    """The file holds no record."""


class FormatError(InputError):
    """The file's format is unknown or broken beyond single records."""


class LayoutError(InputError):
    """The records fit no known layout."""


class SettingsError(ScanError):
    """An option, or an entry of scan.toml, that makes no sense."""

    exit_code = 2


class RuleError(ScanError):
    """A rule file that breaks its contract."""


class RunError(ScanError):
    """A run folder that is missing, incomplete, or belongs to another input."""


class ChangedInputError(RunError):
    """The input is not what it was when it was audited."""


class ModelError(ScanError):
    """A language model that cannot be loaded, or does not suit what it is asked for."""


class BrakeError(ScanError):
    """The plan would remove a larger share of a source than the brake allows."""


class OutputError(ScanError):
    """A cleaned file that cannot be written as faithfully as promised."""


def meant(given: Iterable[str], known: Iterable[str], least: float = 0.6) -> str:
    """The end of a message for names that are close to known ones, as " Did you mean 'epochs'?"; empty for others."""
    choices = list(known)
    near = {name: match[0] for name in given if (match := difflib.get_close_matches(name, choices, 1, least))}
    if len(near) == 1:
        return f" Did you mean {next(iter(near.values()))!r}?"
    said = (f"{right!r} for {name!r}" for name, right in near.items())
    return f" Did you mean {', '.join(said)}?" if near else ""


def is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: compiled code turns it into a SystemError."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return is_interrupt(error.__cause__ or error.__context__)


def end_as_on_interrupt() -> None:
    """What a batch system or a closed terminal sends ends the program as Ctrl-C does: no temporary text stays."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores the second
            signal.signal(number, interrupt)


ADDRESSES = 3.3e9
"""Bytes of address space that an audit takes; measured on the demo's rows with two threads: it fails below 3.1e9."""


def limited() -> str:
    """What to say where the address space is limited (ulimit -v) to less than an audit takes; empty elsewhere.

    Small data may do with less. Where it runs out, compiled libraries end the process without a word.
    """
    try:
        import resource
    except ImportError:  # Windows
        return ""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most >= ADDRESSES:
        return ""
    return (
        f"the address space of this process is limited to {most / 1e9:.1f} GB, and an audit takes about "
        f"{ADDRESSES / 1e9:.1f} GB, with more threads more; where it runs out, the process may end without a message: "
        "raise it (ulimit -v unlimited)"
    )


def unforeseen(error: BaseException) -> str:
    """What to say of an error that nobody foresaw: type and place; what it says itself may hold text of the data."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"a fault of sftscan ({type(error).__name__} at {Path(last.filename).name}:{last.lineno}); please report it. "
        "`scan --debug ...` shows where it came from, and may show text of the data"
    )


def of_the_system(error: OSError) -> str:
    """What the operating system refused, of which file where it says so, and what to do."""
    number, name, what = error.errno, error.filename, error.strerror or str(error)
    if told := _IN_WORDS.search(str(error)):
        number = int(told["rust"] or told["arrow"])
        name, what = told["file"] or told["opened"] or name, os.strerror(number)
    if number in (errno.ENOSPC, errno.EDQUOT):
        writing = f" (writing {name})" if name else ""
        return f"no space is left on the disk{writing}; free some and run the same command again, or write to another"
    if number == errno.EFBIG:
        return f"{name or 'a file'} would be larger than is allowed here; raise the limit (ulimit -f)"
    if number in (errno.EACCES, errno.EPERM) and name:
        cure = _right(Path(os.fsdecode(name)))
    else:
        cure = _CURES.get(number or 0, "")
    return f"{what}: {name or ''}".rstrip(": ") + cure


_IN_WORDS = re.compile(
    r"'(?P<opened>[^']*)'\. Detail: \[errno (?P<arrow>\d+)\]|\(os error (?P<rust>\d+)\)(?:: (?P<file>.+))?"
)
"""How Arrow and polars tell of an error of the system."""
_ELSEWHERE = "; choose another place with --out or -o, or ask for the right to write there"
_FOLDER = "; a file stands where a folder is expected: choose another name"
_OPEN = "; more files may be open here at once only with another limit: raise it (ulimit -n 1024)"
_CURES = {
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.ENOTDIR: _FOLDER,
    errno.EEXIST: _FOLDER,
    errno.EISDIR: "; a folder stands where a file is expected: choose another name",
    errno.ENAMETOOLONG: "; choose a shorter name",
    errno.EMFILE: _OPEN,
    errno.ENFILE: _OPEN,
}


def _right(path: Path) -> str:
    """Which right is missing: to enter a folder on the way, to read what is there, or to write."""
    for folder in reversed(path.parents):
        if os.path.isdir(folder) and not os.access(folder, os.X_OK):
            return f"; ask for the right to enter {folder} (chmod u+x), or choose another place"
    if os.path.exists(path) and not os.access(path, os.R_OK):
        return "; ask for the right to read it (chmod u+r), or choose another"
    return _ELSEWHERE
