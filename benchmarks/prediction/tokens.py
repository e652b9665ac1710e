"""Does the heat of a token say whether the tuned model says it? Per-token chances and memorized spans against hits.

    python tokens.py random-1 random-2 --data DATA                from measurements/NAME.parquet
    python tokens.py random-1 --data DATA --check                 and the AUROC once more, pair by pair

Hits are teacher-forced: each token of the answer, the text before it being the true one, is the argmax or not. Token
AUROC pools the members' tokens of the chosen epochs, each with the chance predicted for that epoch. Memorized spans are
held against the hits they cover, and against the measured runs of LEAST_TOKENS hits and more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from planted import Planted

    from scanner.prediction import Weights
    from scanner.prediction.stretches import Heat

EPOCHS = (4, 6, 8)
PLACES = ((0, 1), (1, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10_000))  # tokens of the answer, from 0


@dataclass(frozen=True)
class Scored:
    """Tokens with their predicted chance and whether they were hit; (t,) each."""

    chance: np.ndarray
    hit: np.ndarray  # bool
    place: np.ndarray  # within the answer, from 0
    epoch: np.ndarray
    alone: np.ndarray  # bool: of a row that stands once


@dataclass(frozen=True)
class SpanScores:
    """Predicted spans against measured runs of hits; shares from 0 to 1, NaN of nothing."""

    spans: int
    expected_whole: float  # mean score: share of spans predicted to come out whole
    whole: float  # share of spans of which every token was hit
    token_precision: float  # share of the spans' tokens that were hit
    run_precision: float  # share of the spans' tokens in measured runs
    run_recall: float  # share of the measured runs' tokens that lie in spans
    runs: int


def auroc(value: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a positive outranks a negative, ties counted half; NaN without both kinds."""
    positive = int(truth.sum())
    if positive in (0, len(truth)):
        return float("nan")
    rank = rankdata(value)
    return float((rank[truth].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))


def auroc_pairwise(value: np.ndarray, truth: np.ndarray, most: int = 4000, seed: int = 0) -> float:
    """The same by comparing every pair, of a sample of at most `most` positives and negatives: an independent check."""
    rng = np.random.default_rng(seed)
    positive, negative = value[truth], value[~truth]
    positive, negative = (rng.permutation(part)[:most] for part in (positive, negative))
    if not len(positive) or not len(negative):
        return float("nan")
    above = sum(float((p > negative).sum() + 0.5 * (p == negative).sum()) for p in positive)
    return above / (len(positive) * len(negative))


def runs(hit: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Maximal runs of at least `least` hits, as [first, last)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], hit.astype(np.int8), [0]))))
    return [(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True) if b - a >= least]


def calibration_error(chance: np.ndarray, hit: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: mean distance of predicted and true share over bins of equal width."""
    which = np.minimum((chance * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    gap = np.bincount(which, chance, minlength=bins) - np.bincount(which, hit, minlength=bins)
    return float(np.abs(gap).sum() / count.sum())


def compare(spans: Sequence[tuple[int, int, int, float]], hits: Sequence[np.ndarray], least: int) -> SpanScores:
    """spans: (answer, first, last + 1, score), tokens within the answer; hits: per answer."""
    covered = [np.zeros(len(hit), bool) for hit in hits]
    whole = []
    for answer, first, last, _ in spans:
        covered[answer][first:last] = True
        whole.append(bool(hits[answer][first:last].all()))
    in_run = [np.zeros(len(hit), bool) for hit in hits]
    count = 0
    for answer, hit in enumerate(hits):
        for first, last in runs(hit, least):
            in_run[answer][first:last] = True
            count += 1
    c, r, h = (np.concatenate([np.zeros(0, bool), *part]) for part in (covered, in_run, list(hits)))

    def share(part: float, of: int) -> float:
        return part / of if of else float("nan")

    return SpanScores(
        spans=len(spans),
        expected_whole=share(sum(s[3] for s in spans), len(spans)),
        whole=share(sum(whole), len(spans)),
        token_precision=share(int((c & h).sum()), int(c.sum())),
        run_precision=share(int((c & r).sum()), int(c.sum())),
        run_recall=share(int((c & r).sum()), int(r.sum())),
        runs=count,
    )


def heat_of(planted: Planted, epoch: int, weights: Weights) -> Heat:
    """The heat of every trained row of a cell after an epoch."""
    import predicting

    return predicting.warm(planted.table, planted.epochs[epoch], weights, np.flatnonzero(planted.table.member))


def score_tokens(planted: Planted, weights: Weights, wanted: Sequence[int] = EPOCHS) -> Scored:
    """The tokens of all trained rows after the wanted epochs."""
    table = planted.table
    chance, hit, place, which, alone = [], [], [], [], []
    for epoch in (e for e in wanted if e in planted.epochs):
        found = heat_of(planted, epoch, weights)
        chance.append(found.probability)
        for row in found.row:
            hit.append(planted.epochs[epoch].hits[row])
            place.append(np.arange(table.length[row]))
            which.append(np.full(table.length[row], epoch))
            alone.append(np.full(table.length[row], table.single[row]))
    return Scored(*(np.concatenate(part) for part in (chance, hit, place, which, alone)))


def score_spans(planted: Planted, weights: Weights, wanted: Sequence[int] = EPOCHS) -> dict[int, SpanScores]:
    """Memorized spans of all trained rows, by epoch."""
    from scanner.prediction.stretches import LEAST_TOKENS, stretches

    found = {}
    for epoch in (e for e in wanted if e in planted.epochs):
        heat = heat_of(planted, epoch, weights)
        cut = stretches(heat)
        first = cut.begin - heat.start[cut.answer]
        spans = list(zip(cut.answer.tolist(), first.tolist(), (first + cut.end - cut.begin).tolist(),
                         cut.score.tolist(), strict=True))  # fmt: skip
        found[epoch] = compare(spans, [planted.epochs[epoch].hits[row] for row in heat.row], LEAST_TOKENS)
    return found


def tables(name: str, scored: Scored, spans: dict[int, SpanScores]) -> list[str]:
    """Markdown: AUROC by position, pooled and among single rows; spans by epoch."""
    epochs = ", ".join(map(str, sorted(set(scored.epoch.tolist()))))
    lines = [f"**{name}: heat against teacher-forced hits, epochs {epochs}**", ""]
    lines += ["| tokens | number | hit | AUROC | rows planted once | calibration error |", "|---|---|---|---|---|---|"]
    for low, high in ((0, 10_000), *PLACES):
        here = (scored.place >= low) & (scored.place < high)
        if not here.any():
            continue
        alone = here & scored.alone
        label = "all" if (low, high) == (0, 10_000) else f"{low + 1} to {high}" if high < 10_000 else f"from {low + 1}"
        chance, hit = scored.chance[here], scored.hit[here]
        lines.append(
            f"| {label} | {here.sum():,} | {hit.mean():.1%} | {auroc(chance, hit):.3f} | "
            f"{auroc(scored.chance[alone], scored.hit[alone]):.3f} | {calibration_error(chance, hit):.3f} |"
        )
    lines += ["", "| epoch | memorized spans | predicted whole | whole | tokens hit | tokens in runs | runs | "
              "of the runs' tokens in spans |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {number} | {s.spans:,} | {s.expected_whole:.1%} | {s.whole:.1%} | {s.token_precision:.1%} | "
        f"{s.run_precision:.1%} | {s.runs:,} | {s.run_recall:.1%} |"
        for number, s in spans.items()
    ]
    return [*lines, ""]


def main() -> None:
    """Command line."""
    import grid
    from planted import read

    from scanner.prediction.hazard import load_weights  # at the level of the base of the fit, which this is

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="the data folder (holds sft/)")
    parser.add_argument("--measurements", type=Path, default=grid.HERE)
    parser.add_argument("--weights", type=Path, help="another weights file than the shipped one")
    parser.add_argument("--check", action="store_true", help="also compute the AUROC pair by pair")
    args = parser.parse_args()
    weights = load_weights(args.weights) if args.weights else load_weights()
    grid.HERE = args.measurements
    for name in args.names:
        planted = read(args.data, name)
        scored = score_tokens(planted, weights)
        print("\n".join(tables(name, scored, score_spans(planted, weights))))
        if args.check:
            print(f"pair by pair, of a sample: {auroc_pairwise(scored.chance, scored.hit):.3f}\n")


if __name__ == "__main__":
    main()
