"""datatrove: its MinHash pipeline (signatures, buckets, clusters) with local executors; no verification.

The file is cut into one part per task before the clock starts, because a reader gives each task whole files. Its last
step, which writes the text again without the duplicates, is left out.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _rows import text_of

PACKAGES = ("datatrove",)
READS = "files"


def start(threads: int) -> None:
    """Import it."""
    import datatrove.executor
    import datatrove.pipeline.dedup
    import datatrove.pipeline.readers  # noqa: F401
    from datatrove.utils.logging import logger

    logger.remove()


def cut(paths: list[Path], folder: Path, parts: int) -> list[int]:
    """The lines of all files in `parts` files of equal length; returns the rows of each."""
    lines = [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]
    bounds = np.linspace(0, len(lines), parts + 1).astype(int)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(parts):
        (folder / f"{i:05d}.jsonl").write_bytes(b"".join(lines[bounds[i] : bounds[i + 1]]))
    return np.diff(bounds).tolist()


def adapted(self: Any, record: dict[str, Any], path: str, line: int) -> dict[str, Any]:
    """A record as the reader wants it."""
    return {"text": text_of(record), "id": f"{path}/{line}", "media": [], "metadata": {}}


def clusters(folder: Path, counts: list[int], threads: int, buckets: int, hashes: int) -> np.ndarray:
    """(rows,) cluster of each row, -1 for rows alone; the parts lie in `folder`."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):
        """Words between spaces; the default for English is a package of its own and slower."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    config = MinhashConfig(n_grams=3, num_buckets=buckets, hashes_per_bucket=hashes)
    with tempfile.TemporaryDirectory() as scratch:
        steps = (
            (len(counts), [
                JsonlReader(str(folder), adapter=adapted),
                MinhashDedupSignature(f"{scratch}/signatures", config, language=Words()),
            ]),
            (buckets, [MinhashDedupBuckets(f"{scratch}/signatures", f"{scratch}/pairs", config=config)]),
            (1, [MinhashDedupCluster(f"{scratch}/pairs", f"{scratch}/removed", config=config, save_cluster_id=True)]),
        )  # fmt: skip
        for i, (tasks, pipeline) in enumerate(steps):
            LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=threads, logging_dir=f"{scratch}/log{i}", start_method="fork"
            ).run()
        found = np.full(sum(counts), -1, np.int64)
        for part, first in enumerate(np.concatenate(([0], np.cumsum(counts)[:-1])).tolist()):
            stored = Path(scratch) / "removed" / f"{part:06d}.clusters"
            if stored.exists():
                for place, cluster in struct.iter_unpack("<II", stored.read_bytes()):
                    found[first + place] = cluster
    return found


def flags(material: tuple[Path, list[int]], threads: int, buckets: int, hashes: int) -> np.ndarray:
    """Which rows are in a cluster."""
    return clusters(*material, threads, buckets, hashes) >= 0


def edges(material: tuple[Path, list[int]], threads: int, buckets: int, hashes: int) -> Iterator[tuple[int, int]]:
    """Each cluster's first row with the others."""
    first: dict[int, int] = {}
    for row, cluster in enumerate(clusters(*material, threads, buckets, hashes).tolist()):
        if cluster >= 0 and first.setdefault(cluster, row) != row:
            yield first[cluster], row
