"""Breaks the verification step in one place at a time and runs the tests that should notice; see test_mutations.

Run as a script, with the number of workers: prints one line of JSON per mutant. Heavy packages are loaded once; each
mutant lives in a process forked from there, in which the changed source takes the place of the module's own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
KERNEL = ("tests/kernels/test_similarity.py::test_similarity_is_that_of_python_sets",)
FIND = (
    "tests/signals/test_thresholds.py",
    *(f"tests/signals/test_minhash.py::test_{name}" for name in (
        "relations", "a_shared_system_prompt_is_no_likeness_and_another_one_no_copy",
        "a_short_row_is_not_contained_in_anything", "equal_up_to_case_is_a_pair_and_equal_is_none",
    )),
)  # fmt: skip
PLAN = (
    "tests/test_planning.py::test_what_may_be_dropped",
    "tests/test_planning.py::test_a_shared_side_is_no_reason_to_drop",
    "tests/test_planning.py::test_each_action_says_why",
)
STARS = ("tests/test_clustering.py::test_chains_are_not_followed", "tests/test_clustering.py")
INSIDE = ("tests/signals/test_inside.py",)
FAMILIES = ("tests/test_families.py::test_near_copies_edited_here_and_there_are_copies_as_before",
            "tests/test_families.py::test_one_task_in_the_words_of_several_is_a_near_copy")  # fmt: skip
SIDES = ("tests/signals/test_sides.py", "tests/test_relating.py")


@dataclass(frozen=True)
class Mutant:
    """One change of one module: `old` stands in its source exactly once. An empty `old` changes nothing."""

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant("nothing changed: kernel", "kernels.similarity", "", "", KERNEL),
    Mutant("nothing changed: find", "signals.minhash", "", "", FIND),
    Mutant("nothing changed: plan", "planning.dropping", "", "", PLAN),
    Mutant("nothing changed: stars", "clustering", "", "", STARS),
    Mutant("nothing changed: sides", "signals.sides", "", "", SIDES),
    Mutant("Jaccard a tenth too small", "kernels.similarity", "np.float32(shared / union)",
           "np.float32(0.9 * shared / union)", KERNEL),
    Mutant("union counts what is shared twice", "kernels.similarity", "union = size_a + size_b - shared",
           "union = size_a + size_b", KERNEL),
    Mutant("containment in a divided by b", "kernels.similarity", "np.float32(shared / in_a)",
           "np.float32(shared / in_b)", KERNEL),
    Mutant("the last shingle of a set is not compared", "kernels.similarity", "while i < i_end and j < j_end:",
           "while i + np.uint64(1) < i_end and j < j_end:", KERNEL),
    Mutant("a shingle of the prompt is none of the answer", "kernels.similarity",
           "left = x | IN_BOTH", "left = x", KERNEL),
    Mutant("prompt and answer mixed up", "kernels.similarity", "sizes[2 * b], prompts)",
           "sizes[2 * b], answers)", KERNEL),
    Mutant("at the floor is below the floor", "signals.minhash", "kept = (measured[:, 0] >= floor)",
           "kept = (measured[:, 0] > floor)", FIND),
    Mutant("the floor is ignored", "signals.minhash", "kept = (measured[:, 0] >= floor)",
           "kept = (measured[:, 0] >= 0)", FIND),
    Mutant("the larger row is taken for contained", "signals.minhash", "np.fmax(measured[:, 1], measured[:, 2])",
           "np.fmin(measured[:, 1], measured[:, 2])", FIND),
    Mutant("short rows are contained in anything", "signals.minhash", ">= CONTAINED_SHINGLES\n", ">= 0\n", FIND),
    Mutant("sizes count shingles of both parts twice", "signals.minhash",
           "whole = np.diff(bounds)", "whole = sizes[::2] + sizes[1::2]", FIND),
    Mutant("the two containments mixed up", "signals.minhash", "containment_ab=values[:, 1],",
           "containment_ab=values[:, 2],", FIND),
    Mutant("the containments of answers mixed up", "signals._measures", "[shared / size[a], shared / size[b]]",
           "[shared / size[b], shared / size[a]]", FIND),
    Mutant("another context is the same context", "signals.minhash",
           "fingerprints.context[a] == fingerprints.context[b],", "np.ones(len(a), np.bool_),", FIND),
    Mutant("shingles one token too long", "signals.minhash", "classes, fold, width, sets, bounds",
           "classes, fold, width + 1, sets, bounds", FIND),
    Mutant("answers that differ may be dropped", "planning.dropping", "        & answers\n", "", PLAN),
    Mutant("payloads that differ may be dropped", "planning.dropping", "        & payload\n", "", PLAN),
    Mutant("answers at the threshold differ", "planning.dropping",
           'pl.col("answer_similarity").fill_nan(1.0) >=', 'pl.col("answer_similarity").fill_nan(1.0) >', PLAN),
    Mutant("payloads at the threshold differ", "contrast",
           "fill_null(math.nan).fill_nan(1.0) >=", "fill_null(math.nan).fill_nan(1.0) >", PLAN),
    Mutant("rows at the threshold differ", "planning.dropping",
           '(pl.col("similarity") >= settings.jaccard)\n', '(pl.col("similarity") > settings.jaccard)\n', PLAN),
    Mutant("another context may be dropped", "planning.dropping", '& pl.col("same_context") & (', "& (", PLAN),
    Mutant("words that differ may be dropped", "planning.dropping", "settings) | words)", "settings) | True)", PLAN),
    Mutant("words at the threshold differ", "planning.dropping", "fill_null(0) >=", "fill_null(0) >", PLAN),
    Mutant("a shared side is a reason to drop", "planning.dropping", "findings.pairs.filter(alike)", "findings.pairs",
           PLAN),
    Mutant("chains are followed", "clustering", "        if taken[head]:\n            continue\n", "", STARS),
    Mutant("the worst row of a group is kept", "clustering", "argsort(-priority[inside])",
           "argsort(priority[inside])", STARS),
    Mutant("rows are contained too early", "pairing", "CONTAINED = 0.95", "CONTAINED = 0.9", FIND),
    Mutant("rows are contained too late", "pairing", "CONTAINED = 0.95", "CONTAINED = 0.96", FIND),
    Mutant("one shingle less may be contained", "signals._measures", "CONTAINED_SHINGLES = 12",
           "CONTAINED_SHINGLES = 11", FIND),
    Mutant("answers at the threshold contradict", "signals.minhash", "(values[:, 4] < jaccard)",
           "(values[:, 4] <= jaccard)", FIND),
    Mutant("prompts at the threshold differ", "signals.minhash", "(values[:, 3] < jaccard)",
           "(values[:, 3] <= jaccard)", FIND),
    Mutant("two missing prompts are the same", "signals.minhash", "equal_prompt & ~np.isnan(values[:, 3])",
           "equal_prompt", FIND),
    Mutant("two missing answers are the same", "signals.minhash", "equal_answer & ~np.isnan(values[:, 4])",
           "equal_answer", FIND),
    Mutant("answers at the share are not inside", "signals._inside", "(share[:, 0] >= CONTAINED)",
           "(share[:, 0] > CONTAINED)", INSIDE),
    Mutant("one shingle too few is looked up", "signals._inside", "<= np.repeat(size - needed(size), size)",
           "< np.repeat(size - needed(size), size)", INSIDE),
    Mutant("near copies count as inside", "signals._inside", "(share[:, 1] < CONTAINED)", "(share[:, 1] < 2)", INSIDE),
    Mutant("what stands in other rows too is a payload", "families", "DISTINCT = 0.4", "DISTINCT = 0.0", FAMILIES),
    Mutant("labels count as boilerplate", "signals.sides", "torn = wanted & (groups.ways > 1)",
           "torn = groups.ways > 1", SIDES),
    Mutant("known pairs are told twice", "signals.sides", "return first & ~np.isin(pairs, known)", "return first",
           SIDES),
    Mutant("an empty prompt is a question", "relating",
           "return (prints.prompt_chars > 0) & (prints.supervised_tokens > 0)",
           "return prints.supervised_tokens >= 0", SIDES),
)  # fmt: skip


def mutated(mutant: Mutant) -> str:
    """The module's source with the change made; ValueError where the place is not found exactly once."""
    source = source_of(mutant).read_text("utf-8")
    if not mutant.old:
        return source
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.old!r} stands {source.count(mutant.old)} times in {mutant.module}")
    return source.replace(mutant.old, mutant.new)


def source_of(mutant: Mutant) -> Path:
    return (ROOT / "scanner" / mutant.module.replace(".", "/")).with_suffix(".py")


@contextlib.contextmanager
def without_compiler(wanted: bool) -> Iterator[None]:
    """Kernels as plain Python, so that a changed one need not be compiled."""
    from numba import config

    before = config.DISABLE_JIT
    config.DISABLE_JIT = wanted or before
    try:
        yield
    finally:
        config.DISABLE_JIT = before


def install(mutant: Mutant) -> None:
    """Put the changed module where the tests will import it from."""
    name = f"scanner.{mutant.module}"
    package = importlib.import_module(name.rpartition(".")[0])
    spec = importlib.util.spec_from_file_location(name, source_of(mutant))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with without_compiler("kernels" in mutant.module):
        exec(compile(mutated(mutant), str(source_of(mutant)), "exec"), module.__dict__)
    if package.__name__ != "scanner":
        importlib.reload(package)  # a package may hand out names of its modules
    setattr(package, mutant.module.rpartition(".")[2], module)


def in_a_fork(mutant: Mutant) -> tuple[int, Path]:
    """Start the mutant's tests; returns the child's process id and the file that its output goes to."""
    out = Path(tempfile.mkstemp(prefix="mutant-")[1])
    child = os.fork()
    if child:
        return child, out
    code = 99
    try:
        file = os.open(out, os.O_WRONLY)
        os.dup2(file, 1)
        os.dup2(file, 2)
        install(mutant)
        import pytest

        with tempfile.TemporaryDirectory() as folder:
            flags = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={folder}/t"]
            flags += ["-W", "ignore::RuntimeWarning"]  # uint64 wraps around, of which plain Python warns
            code = int(pytest.main([*flags, *(str(ROOT / test) for test in mutant.tests)]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(workers: int) -> None:
    """Run every mutant, `workers` at a time."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # no test here needs a plugin, and each child would load them
    os.environ["HYPOTHESIS_PROFILE"] = "unshrunk"  # that a test fails is enough; the least example of it took seconds
    for name in ("numba", "polars", "pyarrow", "datasketch", "mmh3", "hypothesis", "pytest"):
        importlib.import_module(name)
    for name in ("kernels.similarity", "fingerprints", "store"):
        importlib.import_module(f"scanner.{name}")
    from scanner.text import code_point_classes, folded_code_points

    code_point_classes(), folded_code_points()  # tables that every child would make for itself
    running: dict[int, tuple[Mutant, Path]] = {}
    waiting = list(MUTANTS)
    while waiting or running:
        while waiting and len(running) < workers:
            child, out = in_a_fork(waiting[0])
            running[child] = (waiting.pop(0), out)
        child, status = os.wait()
        mutant, out = running.pop(child)
        said = out.read_text("utf-8", "replace")
        out.unlink()
        failed = re.findall(r"^FAILED \S*?(tests/\S+)", said, re.MULTILINE)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"name": mutant.name, "code": code, "failed": failed, "said": said[-600:]}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
