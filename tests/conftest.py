"""What many tests share: hypothesis settings, texts as buffers, and rows in a real run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import readied
from corpora import Corpus, pair, places_of, row, write_segments
from hypothesis import Phase, settings

from scanner import compiling
from scanner.objects import Segment
from scanner.prediction import scoring
from scanner.progress import Progress
from scanner.store import RunFolder

# Same examples on every machine, nothing written beside the code; `--hypothesis-profile hunt` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True, database=None, max_examples=40)
settings.register_profile("hunt", deadline=None, database=None, max_examples=2000)
settings.register_profile("unshrunk", settings.get_profile("same"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which `make test` uses and a single process does not need
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Before several processes of tests start: each gets its share of the cores, and finds the kernels compiled."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(specs))))
    compiling.load_kernels(Progress())


@pytest.fixture(scope="session", autouse=True)
def ended() -> Iterator[None]:
    yield
    readied.end()


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., list[list[Segment]]]:
    """rows_of([(prompt, answer), (prompt, answer, system), "plain text", ...]) -> rows of segments."""

    def build(given: Sequence[Any]) -> list[list[Segment]]:
        return [row(("text", item)) if isinstance(item, str) else pair(*item) for item in given]

    return build


@pytest.fixture
def segments_of(tmp_path: Path, rows_of: Any) -> Callable[..., Corpus]:
    """segments_of(rows) -> Corpus in a run folder of its own; rows are lists of segments, pairs or plain texts."""
    made = 0

    def build(
        rows: Sequence[Any],
        row_ids: Sequence[int] | None = None,
        per_batch: int = 100,
        sources: list[int] | None = None,
    ) -> Corpus:
        nonlocal made
        made += 1
        rows = [r if isinstance(r, list) else rows_of([r])[0] for r in rows]
        ids = list(range(len(rows))) if row_ids is None else list(row_ids)
        run = RunFolder.open_for_writing(tmp_path / f"run{made}")
        write_segments(run.segments_path, rows, ids, per_batch)
        return Corpus(run, places_of(rows, ids, sources), rows)

    return build


@pytest.fixture(scope="module")
def few_draws() -> Iterator[None]:
    """Intervals of scores from 20 bootstrap draws: where it is not they that are tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "DRAWS", 20)
        yield


@pytest.fixture(scope="session")
def packed() -> Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]:
    """packed(texts) -> (data, offsets) as an Arrow buffer holds them: read-only, with bytes around them."""

    def build(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        parts = [b"before", *(text.encode() for text in texts)]
        data = np.frombuffer(b"".join(parts) + b"after", np.uint8)
        return data, np.cumsum([len(part) for part in parts]).astype(np.int64)

    return build
