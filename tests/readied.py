"""The program in a process of its own for each command, forked from one that holds the heavy packages.

Loading them took most of a command's time. Run as a script: reads one command a line from standard input, as JSON, and
answers each with its exit code. The package's own modules, but for the kernels, are loaded anew by every command.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[1] / "cli.py"
HEAVY = (
    "polars", "pyarrow.compute", "pandas", "scipy.integrate", "datasketch", "jinja2", "rich.progress", "re2",
    *(f"scanner.kernels.{path.stem}" for path in (PROGRAM.parent / "scanner" / "kernels").glob("[a-z]*.py")),
)  # fmt: skip
"""What most commands load. A fork loses the threads that come with it: those of allocators, which see to that, and one
of polars that removes what it wrote where memory was short."""
MOST_SECONDS = 300
STREAMS = ("stdin", "stdout", "stderr")


def scan(*arguments: object, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own: its exit code, negative for a signal, and what it printed."""
    process, given = started(), [*map(str, arguments)]
    assert process.stdin is not None
    assert process.stdout is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stdin").write_bytes(stdin)
        print(json.dumps([given, str(cwd), name]), file=process.stdin, flush=True)
        code = int(process.stdout.readline())
        printed = ((folder / stream).read_bytes().decode("utf-8", "replace") for stream in STREAMS[1:])
        return subprocess.CompletedProcess(given, code, *printed)


@cache
def started() -> subprocess.Popen[str]:
    """The process that forks, started by the first command."""
    command = [sys.executable, "-W", "error::DeprecationWarning:scanner", __file__]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def end() -> None:
    """End the process that forks, if there is one."""
    if started.cache_info().currsize:
        started().communicate()
        started.cache_clear()


def become(arguments: list[str], cwd: str, streams: str) -> None:
    """Be the program: read and write files in the folder `streams` and end as it ends, in time or by a signal."""
    signal.alarm(MOST_SECONDS)
    for number, name in enumerate(STREAMS):
        opened = os.open(Path(streams, name), os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    sys.argv = [str(PROGRAM), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


def main() -> Any:
    """Answer commands until standard input ends."""
    sys.path[0] = str(PROGRAM.parent)
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()  # else each child would go through all that again, and copy it
    # copies, as the child's own streams are others
    with os.fdopen(os.dup(0)) as commands, os.fdopen(os.dup(1), "w") as codes:
        for command in commands:
            child = os.fork()
            if not child:
                return become(*json.loads(command))
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=codes, flush=True)


if __name__ == "__main__":
    main()
