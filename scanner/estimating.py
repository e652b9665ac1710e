"""What an audit will cost, measured on a sample of the data itself (`scan --dry-run`)."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scanner import formats, ingest, jsontext
from scanner.errors import InputError
from scanner.figures import plural
from scanner.objects import Source
from scanner.settings import Settings

SAMPLES = (500, 4000)
"""Records of the two sample audits, from whose times the part per row follows; the first is run once before, for the
libraries and kernels that a run loads."""
BASE_BYTES = 500 << 20
"""Memory of a run before its first row: the interpreter, the libraries and the kernels."""
BYTES_PER_ROW = 2600
"""Memory per row beyond the base (benchmarks/audit), an upper bound for rows of ordinary length."""


@dataclass(frozen=True)
class Estimate:
    """The expected cost of an audit."""

    records: int
    exact_count: bool  # False where the number of records was extrapolated
    seconds: float
    memory_bytes: int
    disk_bytes: int

    def in_words(self) -> str:
        """Lines for the screen."""
        about = "" if self.exact_count else "about "
        return (
            f"{about}{plural(self.records, 'record')}\n"
            f"time    about {max(1, round(self.seconds)):,} s (from two audits of up to {SAMPLES[-1]:,} records)\n"
            f"memory  at most about {self.memory_bytes / 1e9:.1f} GB\n"
            f"disk    about {self.disk_bytes / 1e6:,.0f} MB in the run folder; nothing was written"
        )


def estimate(datasets: list[str], settings: Settings, audit: Callable[[list[str], Settings, Path], object]) -> Estimate:
    """Audit two samples in a temporary folder and extrapolate; `audit` is the pipeline's."""
    sources = formats.discover(datasets)
    samples: list[object] = []
    records, exact = 0, True
    for source in sources:
        values, count, size = _sample(source, settings)
        if count is None:
            exact = False
            count = round(len(values) * source.bytes_on_disk / max(1, size))
        samples += values
        records += count
    if not samples:
        raise InputError(f"{', '.join(s.name for s in sources)}: no record could be read")
    with tempfile.TemporaryDirectory(prefix="sftscan-") as folder:
        times, disk = [], 0
        sizes = sorted({min(n, len(samples)) for n in SAMPLES})
        for number, size in enumerate([sizes[0], *sizes]):
            file = Path(folder) / f"sample{number}.jsonl"
            file.write_bytes(b"".join(jsontext.canonical(v) + b"\n" for v in itertools.islice(samples, size)))
            started = time.perf_counter()
            run = Path(folder) / f"sample{number}.scan"
            audit([str(file)], settings, run)
            times.append((size, time.perf_counter() - started))
            disk = sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
    loading = max(0.0, times[0][1] - times[1][1])
    (small, first), (large, last) = times[1], times[-1]
    per_row = max(0.0, (last - first) / (large - small)) if large > small else last / large
    return Estimate(
        records=records,
        exact_count=exact,
        seconds=loading + last + per_row * max(0, records - large),
        memory_bytes=BASE_BYTES + BYTES_PER_ROW * records,
        disk_bytes=round(disk * max(1.0, records / large)),
    )


def _sample(source: Source, settings: Settings) -> tuple[list[object], int | None, int]:
    """Up to SAMPLES[-1] records of a source, how many it has (None: unknown), and the bytes the sample stands for."""
    values: list[object] = []
    count, sampled_bytes = 0, 0
    for records in formats.read(source, settings, 0):
        count += len(records) + len(records.skips)
        wanted = SAMPLES[-1] - len(values)
        if records.buffer is not None:  # where the records stand is known at once, so all are counted
            if wanted > 0:
                values += ingest.sample(records, wanted)
                sampled_bytes = int(records.end[:wanted].max(initial=1))
            continue
        assert records.values is not None
        values += records.values[:wanted]
        if len(values) >= SAMPLES[-1]:
            return values, None, sum(len(jsontext.canonical(v)) for v in values)
    return values, count, sampled_bytes or source.bytes_on_disk
