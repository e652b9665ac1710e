"""Precision, recall and F1 of each encoder on the labelled pairs of truth.jsonl, beside semhash.

    pip install 'sftscan[minilm]' semhash
    python benchmarks/semantic/run.py

Every encoder sees the same rows (all of truth.jsonl, each once). A labelled pair counts as found when its cosine is
known and at or above the threshold; average precision ranks the pairs by cosine and needs no threshold. The cascade
knows only the pairs of rows that the transformer read. semhash searches with its own index and thresholds over the
table that this package ships, as a model2vec StaticModel: nothing is fetched, and what differs is the weighting.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from scanner import confirming, embedding, stages, wordvectors
from scanner.contrast import DECISIVE
from scanner.formats import discover
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.signals import semantic
from scanner.store import RunFolder

HERE = Path(__file__).parent
THRESHOLDS = (0.9, 0.8, 0.7)
Pair = tuple[int, int]
Cosines = dict[Pair, float]


def main() -> None:
    """Score every encoder and print two tables: all pairs, and the share found of each kind."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--truth", type=Path, default=HERE / "truth.jsonl")
    arguments.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3])
    arguments.add_argument("--threads", type=int, default=2)
    chosen = arguments.parse_args()
    truth = [json.loads(line) for line in chosen.truth.read_text("utf-8").splitlines()]
    number: dict[str, int] = {}
    pairs: list[Pair] = []
    for line in truth:
        a, b = (number.setdefault(json.dumps(line[side], ensure_ascii=False), len(number)) for side in ("a", "b"))
        pairs.append((min(a, b), max(a, b)))
    labels = np.array([line["duplicate"] for line in truth])
    kinds = np.array([line["kind"] for line in truth])
    scores, differs = cosines(list(number), pairs, chosen)
    print(f"{len(pairs)} pairs, {labels.sum()} of them duplicates, {len(number)} rows\n")
    print("| encoder | average precision | threshold | precision | recall | F1 |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, known in scores.items():
        value = np.array([known.get(pair, -1.0) for pair in pairs])
        average = average_precision(labels, value)
        best = max(np.unique(value[value > -1]), key=lambda t: f1(labels, value >= t), default=1.0)
        for at in (*THRESHOLDS, best):
            found = value >= at
            tag = f"{at:.2f} (best F1)" if at == best else f"{at:.2f}"
            print(f"| {name} | {average:.2f} | {tag} | {precision(labels, found)} | {recall(labels, found)} "
                  f"| {f1(labels, found):.2f} |")  # fmt: skip
    order = list(dict.fromkeys(kinds.tolist()))
    print("\n| share found at cosine .8 | " + " | ".join(order) + " |\n|---|" + "--:|" * len(order))
    for name, known in scores.items():
        value = np.array([known.get(pair, -1.0) for pair in pairs])
        print(f"| {name} | " + " | ".join(f"{(value[kinds == kind] >= 0.8).mean():.2f}" for kind in order) + " |")
    marked = np.array([any(kind in text for kind in DECISIVE) for text in differs])
    print("\n| share marked as differing in numbers or negation | "
          + " | ".join(f"{marked[kinds == kind].mean():.2f}" for kind in order) + " |")  # fmt: skip


def cosines(rows: list[str], pairs: list[Pair], chosen: argparse.Namespace) -> tuple[dict[str, Cosines], list[str]]:
    """The cosines of each encoder by pair of rows, and what `scanner.contrast` says of the pairs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(f"{row}\n" for row in rows), "utf-8")
        run, settings, progress = RunFolder.open_for_writing(Path(folder) / "run"), Settings(), Progress()
        read, _, prints = stages.read(run, discover([str(file)]), settings, chosen.threads, "truth", progress)
        likeness = stages.find_likeness(run, read, prints, settings, chosen.threads, progress)
        batches = list(run.segments())
        fast = embedding.encode(batches, read.row_id, threads=chosen.threads)
        model = embedding.ModelEncoder(embedding.MINILM)
        full = embedding.encode(batches, read.row_id, model, threads=chosen.threads)
        scores = {"static table": of_vectors(fast, pairs)}
        near = semantic.search(fast, read.content_order, settings.neighbours, chosen.threads)
        for share in chosen.shares:
            now = replace(settings, cosine=min(THRESHOLDS), confirm_share=share, neighbours=len(rows))
            found, _ = confirming.confirm(
                batches, read, fast, near, likeness.texts.group, likeness.near, model, now, chosen.threads, progress
            )
            ends = zip(found.row_a.tolist(), found.row_b.tolist(), strict=True)
            scores[f"cascade, {share:g} of the work"] = dict(zip(ends, found.similarity.tolist(), strict=True))
        scores["all-MiniLM-L6-v2 on every row"] = of_vectors(full, pairs)
        scores["semhash over the same table"] = of_semhash(rows, pairs)
        frame = pl.DataFrame({"row_a": [a for a, _ in pairs], "row_b": [b for _, b in pairs]})
        told = confirming.with_differences(frame, run.segments(), [frame.clear()], progress)
        return scores, told["differs"].to_list()


def of_vectors(found: embedding.Embeddings, pairs: list[Pair]) -> Cosines:
    """Cosines of the pairs of which both rows were measured."""
    unit = found.vectors / np.maximum(found.norms(), 1)[:, None]
    return {(a, b): float(unit[a] @ unit[b]) for a, b in pairs if found.measured[a] and found.measured[b]}


def of_semhash(rows: list[str], pairs: list[Pair]) -> Cosines:
    """The pairs that semhash reports as duplicates at any cosine above 0, with its scores; empty if not installed."""
    try:
        from model2vec import StaticModel
        from semhash import SemHash
        from tokenizers import Tokenizer
    except ImportError:
        print("semhash is not installed: left out")
        return {}
    with np.load(wordvectors.TABLE / "table.npz") as stored:
        vectors = stored["vectors"] * stored["scale"][:, None]
    tokenizer = Tokenizer.from_file(str(wordvectors.TABLE / "tokenizer.json"))
    texts = ["\n".join(json.loads(row).values()) for row in rows]
    place = {text: i for i, text in enumerate(texts)}
    index = SemHash.from_records(texts, model=StaticModel(vectors, tokenizer, normalize=True, max_length=None)).index
    matches = index.query_threshold(index.vectors, threshold=0.01)
    scores: Cosines = {}
    items = [place[item[0]["text"]] for item in index.items]
    for row, (others, score) in zip(items, matches, strict=True):
        for other, value in zip(others.tolist(), score.tolist(), strict=True):
            a, b = sorted((row, items[other]))
            scores[a, b] = float(value)
    return {pair: scores[pair] for pair in pairs if pair in scores}


def average_precision(labels: np.ndarray, value: np.ndarray) -> float:
    """Sum over thresholds of precision x gain in recall; pairs of one cosine, or of none, come in together."""
    levels = np.unique(value)[::-1]
    found = [value >= level for level in levels]
    hits = np.array([(labels & part).sum() for part in found])
    sizes = np.array([part.sum() for part in found])
    return float((hits / sizes * np.diff(hits, prepend=0)).sum() / labels.sum())


def precision(labels: np.ndarray, found: np.ndarray) -> str:
    """Share of the pairs found that are duplicates; "-" where none was found."""
    return f"{labels[found].mean():.2f}" if found.any() else "-"


def recall(labels: np.ndarray, found: np.ndarray) -> str:
    """Share of the duplicates that were found."""
    return f"{found[labels].mean():.2f}"


def f1(labels: np.ndarray, found: np.ndarray) -> float:
    """Harmonic mean of precision and recall."""
    return float(2 * (labels & found).sum() / max(1, labels.sum() + found.sum()))


if __name__ == "__main__":
    main()
