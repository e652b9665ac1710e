"""Build scanner/background_table: read the sources, count, smooth, choose, quantise, write, checksum.

    python benchmarks/background/build.py DATA            # about three minutes on one core
    python benchmarks/background/build.py DATA --size 4   # another size, in MB

DATA holds sft/ and eval/ and a MANIFEST.json with revisions and licences. Installed packages are read too: the versions
stand in table.json. The same inputs, seed and numpy give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from model import LEAST_DOCUMENTS, Corpus, count, fit, smooth
from sources import VALIDATION, Source, data_sources, program_sources, texts_of

from scanner.background import BackgroundTable
from scanner.kernels.tokens import tokenise
from scanner.text import code_point_classes, folded_code_points

ROOT = Path(__file__).resolve().parents[2]
SEED = 1
SIZE = 8.0  # MB
HELD_OUT = 0.04  # share of the documents of each source that the table is measured on, not built from
_SIEVE = 26  # bits: which leading bits of a run occur at all, before it is looked up
RUN = 13  # tokens: a document that shares so many in a row with a validation file is left out


def main() -> None:
    """Parse, collect, fit, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, default=ROOT / "scanner" / "background_table")
    arguments.add_argument("--size", type=float, default=SIZE, help="MB")
    arguments.add_argument("--seed", type=int, default=SEED)
    chosen = arguments.parse_args()
    found, left_out = collect(chosen.data, chosen.seed)
    counts = count(joined([corpus for _, corpus, _ in found]))
    table = fit(counts, smooth(counts), int(chosen.size * 1e6))
    write(chosen.out, table, found, left_out, chosen.seed)


def tokenised(documents: list[str]) -> Corpus:
    """Documents as kernel tokens."""
    raw = [text.encode("utf-8", "ignore") for text in documents]
    offsets = np.concatenate(([0], np.cumsum([len(part) for part in raw]))).astype(np.int64)
    data = np.frombuffer(b"".join(raw), np.uint8)
    hashes, starts = np.empty(len(data), np.uint64), np.empty(len(data), np.int64)
    numbers = np.empty(len(raw), np.int64)
    total = tokenise(data, offsets, code_point_classes(), folded_code_points(), 0, hashes, starts, numbers)
    return Corpus(hashes[:total].copy(), np.concatenate(([0], np.cumsum(numbers))))


def joined(parts: list[Corpus]) -> Corpus:
    """One corpus of several."""
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Corpus(np.concatenate([part.tokens for part in parts]), np.concatenate(([0], np.cumsum(lengths))))


def chosen_documents(corpus: Corpus, keep: Any) -> Corpus:
    """The documents where `keep` (d,) is true."""
    lengths = np.diff(corpus.offsets)
    return Corpus(corpus.tokens[np.repeat(keep, lengths)], np.concatenate(([0], np.cumsum(lengths[keep]))))


def runs(corpus: Corpus, length: int) -> tuple[Any, Any]:
    """Hashes of all runs of tokens within a document, and the document of each; not of runs such as "- - - -"."""
    lengths = np.diff(corpus.offsets)
    document = np.repeat(np.arange(len(lengths)), lengths)
    with np.errstate(over="ignore"):
        h = np.zeros(max(0, len(corpus.tokens) - length + 1), np.uint64)
        for i in range(length):
            h = h * np.uint64(0x9E3779B97F4A7C13) + corpus.tokens[i : i + len(h)]
    inside = document[: len(h)] == document[length - 1 :]
    again = np.cumsum(np.append(0, corpus.tokens[1:] == corpus.tokens[:-1]))  # equal neighbours up to each token
    inside &= again[length - 1 :] == again[: len(h)]
    return h[inside], document[: len(h)][inside]


def collect(data: Path, seed: int) -> tuple[list[tuple[Source, Corpus, Corpus]], int]:
    """Each source with the documents to build from and those held out; and how many shared text with validation."""
    avoid = joined([tokenised(texts_of(data / "sft" / name)) for name in VALIDATION])
    known = np.unique(runs(avoid, RUN)[0])
    sieve = np.zeros(1 << _SIEVE, np.bool_)
    sieve[known >> np.uint64(64 - _SIEVE)] = True
    seen: set[bytes] = set()
    found = []
    left_out = 0
    for number, source in enumerate([*data_sources(data), *program_sources(seed)]):
        if not source.documents:
            continue
        corpus = tokenised(source.documents)
        bounds = corpus.offsets.tolist()
        marks = [hashlib.sha256(corpus.tokens[a:b].tobytes()).digest() for a, b in pairwise(bounds)]
        keep = np.array([not (mark in seen or seen.add(mark)) for mark in marks])  # exact copies count once
        h, document = runs(corpus, RUN)
        shared = np.zeros(len(keep), np.bool_)
        likely = np.flatnonzero(sieve[h >> np.uint64(64 - _SIEVE)])
        at = np.minimum(np.searchsorted(known, h[likely]), len(known) - 1)
        shared[document[likely[known[at] == h[likely]]]] = True
        left_out += int((keep & shared).sum())
        keep &= ~shared
        held = np.random.default_rng((seed, number)).random(len(keep)) < HELD_OUT
        found.append((source, chosen_documents(corpus, keep & ~held), chosen_documents(corpus, keep & held)))
    return found, left_out


def write(
    out: Path, table: BackgroundTable, found: list[tuple[Source, Corpus, Corpus]], left_out: int, seed: int
) -> None:
    """table.npz, table.json, NOTICE.txt."""
    out.mkdir(exist_ok=True)
    sources = [source for source, _, _ in found]
    arrays = {name: getattr(table, name) for name in BackgroundTable.__dataclass_fields__}
    np.savez(out / "table.npz", **arrays)
    described = {
        "name": "background language, up to 3 tokens",
        "unit": "kernel token",
        "bytes": table.nbytes,
        "words": int((table.words > 0).sum()),
        "pairs": int((table.pairs > 0).sum()),
        "triples": int((table.triples > 0).sum()),
        "least_documents": LEAST_DOCUMENTS,
        "seed": seed,
        "documents_left_out_for_sharing_text_with_validation": left_out,
        "sources": [
            {k: v for k, v in asdict(source).items() if k != "documents"}
            | {"documents": len(used.offsets) - 1, "tokens": len(used.tokens)}
            for source, used, _ in found
        ],
        "built_with": {"numpy": np.__version__},
        "sha256": {"table.npz": hashlib.sha256((out / "table.npz").read_bytes()).hexdigest()},
    }
    (out / "table.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")
    lines = [f"    {s.name}: {s.licence} ({s.origin})" for s in sources]
    (out / "NOTICE.txt").write_text(
        "The file table.npz in this folder holds statistics (how likely a token is after two others) of the texts\n"
        "below; none of the texts is in it, and no n-gram of fewer than "
        f"{LEAST_DOCUMENTS} documents.\n\n" + "\n".join(lines) + "\n\n"
        "Checksums stand in table.json. The script is benchmarks/background/build.py.\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
