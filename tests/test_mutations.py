"""A broken verification step must not go unnoticed: every change listed in `mutating` makes some test fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from mutating import MUTANTS, ROOT, Mutant, mutated


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """How the tests of every mutant ended."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "mutating.py"), str(min(4, os.cpu_count() or 1))],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_change_can_be_made(mutant: Mutant) -> None:
    assert (mutated(mutant) != mutated(Mutant("", mutant.module, "", "", ()))) == bool(mutant.old)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_test_fails_where_something_is_broken(outcomes: dict[str, dict[str, Any]], mutant: Mutant) -> None:
    """0: all tests passed, 1: some failed; anything else is no verdict."""
    seen = outcomes[mutant.name]
    assert seen["code"] == (1 if mutant.old else 0), seen["said"]
    assert bool(seen["failed"]) == bool(mutant.old)
