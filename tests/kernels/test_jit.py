"""Where compiled kernels are kept: beside the source, in the user's cache where that is read-only, keyed by source."""

from __future__ import annotations

import ast
import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from numba.core.errors import NumbaError

from scanner.errors import of_the_system
from scanner.kernels import _jit
from scanner.kernels._jsonstrings import string_end


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A kernels folder of two sources, and an empty cache home."""
    folder = tmp_path / "site-packages" / "kernels"
    folder.mkdir(parents=True)
    for name in ("_jit.py", "tokens.py"):
        (folder / name).write_text("# first version\n")
    monkeypatch.setattr(_jit, "__file__", str(folder / "_jit.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    return folder


def place() -> Path:
    return _jit.cache_folder.__wrapped__()


def test_lies_beside_the_source(package):
    assert place().parent == package / "__pycache__"


def test_any_changed_source_makes_another_folder_and_the_old_one_goes(package):
    before = place()
    (package / "tokens.py").write_text("# second version\n")
    after = place()
    assert after != before
    assert after.is_dir()
    assert not before.exists()


def test_read_only_site_packages_fall_back_to_the_users_cache(package, tmp_path):
    (package / "__pycache__").write_text("a file where the folder would be")
    assert place().parent == tmp_path / "cache" / "sftscan"
    (tmp_path / "cache" / "sftscan" / "x").write_text("")


def test_the_users_choice_comes_first(package, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert place().parent == tmp_path / "mine"


def test_other_users_of_numba_keep_their_setting(tmp_path):
    from numba import config, types

    before = config.CACHE_DIR
    with _jit._own_cache_folder():
        assert str(_jit.cache_folder()) == config.CACHE_DIR
    assert before == config.CACHE_DIR
    assert types.int64 is _jit.INT


def test_a_full_disk_under_the_compiled_kernels_is_named():
    with pytest.raises(OSError, match="No space left") as full, _jit._own_cache_folder():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert f"(writing {_jit.cache_folder()}; NUMBA_CACHE_DIR names another place)" in of_the_system(full.value)
    with pytest.raises(FileNotFoundError) as other, _jit._own_cache_folder():
        Path("/nowhere/at/all").read_bytes()
    assert other.value.filename == "/nowhere/at/all"


def test_what_kernels_call_counts_no_references():
    def calls(inner):
        """Places where a kernel, and what it calls, count references to an array."""

        @njit(_jit.I64(_jit.U8R), nogil=True)
        def run(data):
            found = np.empty(1, np.int64)
            found[0], _ = inner(data, 0, len(data))
            return found

        assert run(np.frombuffer(b'ab"', np.uint8)).tolist() == [2]
        (llvm,) = run.inspect_llvm().values()
        return llvm.count("@NRT_decref(")

    plain = string_end.py_func
    assert calls(_jit.helper(plain)) < calls(_jit.maker(plain))
    assert calls(_jit.shared(plain)) < calls(njit(nogil=True)(plain))


def test_a_helper_that_makes_arrays_is_refused():
    @_jit.helper
    def make(count):
        return np.empty(count, np.int64)

    with pytest.raises(NumbaError, match="NRT"):
        njit(_jit.I64(_jit.INT))(lambda count: make(count))


def test_makers_alone_make_or_sort_arrays():
    """Another helper that sorts compiles or not by what was compiled before it, and so by the order of imports."""
    made = {"makes": [], "sorts": []}
    for path in sorted(Path(_jit.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            marks = {ast.unparse(mark) for mark in getattr(node, "decorator_list", [])}
            if not isinstance(node, ast.FunctionDef) or not marks & {"helper", "shared", "maker"}:
                continue
            makes = re.search(r"np\.(empty|zeros|ones|full|arange|concatenate)\w*\(|\.copy\(", ast.unparse(node))
            sorts = re.search(r"sort\(", ast.unparse(node))
            assert bool(makes or sorts) == ("maker" in marks), f"{path.name}: {node.name}"
            made["makes"] += [node.name] * bool(makes)
            made["sorts"] += [node.name] * bool(sorts)
    assert all(made.values())


def test_a_user_without_a_home_gets_a_folder_in_the_temporary_one(package, tmp_path, monkeypatch):
    """As in a container that runs under a number that no user has."""
    (package / "__pycache__").write_text("a file where the folder would be")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    monkeypatch.setattr(_jit.tempfile, "gettempdir", lambda: str(tmp_path))
    assert place().parent == tmp_path / f"sftscan-{os.getuid()}"
    assert place().parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("squatted", ["writable", "link", "file"])
def test_machine_code_that_others_may_have_put_there_is_not_run(package, tmp_path, monkeypatch, squatted):
    (package / "__pycache__").write_text("a file where the folder would be")
    (tmp_path / "cache").write_text("likewise")
    monkeypatch.setattr(_jit.tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / f"sftscan-{os.getuid()}"
    if squatted == "writable":
        theirs.mkdir()
        theirs.chmod(0o777)
    elif squatted == "link":
        (tmp_path / "other").mkdir()
        theirs.symlink_to(tmp_path / "other")
    else:
        theirs.touch()
    found = place()
    assert theirs not in found.parents
    assert found.parent.parent == tmp_path
    assert found.parent.stat().st_mode & 0o777 == 0o700
