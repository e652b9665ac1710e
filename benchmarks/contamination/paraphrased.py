"""Weights of the evidence for a paraphrase (scanner/contamination/paraphrases.py): fitted, tested on sets left out.

    python benchmarks/contamination/paraphrased.py --data FOLDER [--embedder minilm] [--confirm-with minilm]

FOLDER holds public sets under sft/ and eval/, see README.md. Paraphrased benchmarks whose originals are known are
searched for by themselves and hidden among 52,002 other rows; clean sets are searched for all benchmarks. Every line is
judged by weights that were fitted without its paraphrased set (all languages of HumanEval are one), and a clean one
without that clean set. With --confirm-with a transformer then reads the likeliest candidates again, within
--confirm-share of its work on all questions (all of it where a set is searched by itself: every row is a candidate).
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from run import PARAPHRASES, REPHRASED
from scipy.optimize import minimize

from scanner import embedding, formats, ingest, matching
from scanner.contamination import paraphrases, semantic
from scanner.contamination.paraphrases import Compared
from scanner.contamination.rereading import Transformer
from scanner.decontaminating import items_of
from scanner.settings import Settings
from scanner.store import RunFolder

ORIGINALS = (
    "gsm8k_test.jsonl", "humaneval.jsonl", "mbpp_test_wizard.zip", "mbppplus.json", "mmlu.zip", "mt_bench.jsonl",
    "vicuna_bench.jsonl", "alpaca_eval_davinci003.json", "selfinstruct_user_oriented.jsonl",
)  # fmt: skip
CLEAN = (
    "alpaca_52k.json",
    "lf_lima.json",
    "dolly_hhrlhf_small.jsonl",
    "codealpaca_new.json",
    "gsm8k_train_alpaca.json",
)
CROWD = "alpaca_52k.json"
LANGUAGES = ("humaneval_python.jsonl", "humaneval_js.jsonl", "humaneval_c.jsonl")
RIDGE = 1.0
EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True)
class Case:
    """One search: what was found out about the candidates, and which of them are right."""

    name: str
    paraphrased: str  # the set, "" for clean ones
    compared: Compared
    right: np.ndarray  # (c,) bool
    planted: np.ndarray  # (c,) bool: of a paraphrased row
    rows: int  # paraphrased rows with text

    @property
    def features(self) -> np.ndarray:
        """(c, 4) one, margin, overlap, numbers."""
        c = self.compared
        return np.column_stack((np.ones(len(c.item)), c.margin, c.overlap, c.numbers))

    def ratio(self, weights: np.ndarray) -> np.ndarray:
        """(c,) log likelihood ratio of each candidate."""
        return self.features @ weights - paraphrases.CAUTION * self.compared.confirmed

    def judged(self, weights: np.ndarray) -> np.ndarray:
        """(c,) probability of each candidate."""
        c = self.compared
        return paraphrases.probability(self.ratio(weights), c.item, c.rank, c.group)[0]

    def found(self, weights: np.ndarray) -> tuple[int, int]:
        """Rows that match their own item, and rows that match another one alone."""
        match = self.judged(weights) >= paraphrases.MATCH
        place = self.compared.place
        right = np.unique(place[match & self.right])
        return len(right), len(np.setdiff1d(place[match & ~self.right], right))

    def found_alone(self, weights: np.ndarray) -> int:
        """Rows that would match their own item if the data held no other paraphrase of that benchmark."""
        usual = np.log(paraphrases.USUAL_SHARE / (1 - paraphrases.USUAL_SHARE))
        sure = self.ratio(weights) + usual >= np.log(paraphrases.MATCH / (1 - paraphrases.MATCH))
        return len(np.unique(self.compared.place[sure & self.right]))


@dataclass(frozen=True)
class Again:
    """Which transformer reads the likeliest candidates, and how much."""

    model: str
    share: float


def family(name: str) -> str:
    """What is left out together."""
    return "humaneval" if name.startswith("humaneval") else name


def belong_together(one: Case, other: Case) -> bool:
    """Whether `other` must not be seen by the weights that `one` is judged by."""
    if one.paraphrased:
        return one.paraphrased == other.paraphrased
    return one.name == other.name or (one.name == CROWD and CROWD in other.name)


def search(
    data: list[Path], evaluation: list[Path], embedder: str | None, again: Again | None, threads: int
) -> tuple[Compared, np.ndarray, np.ndarray, matching.Items]:
    """Candidates with the source and the line of each one's row, and the items."""
    encoder = embedding.load(embedder)  # anew, for it learns what the rows at hand have in common
    by = again and Transformer(embedding.ModelEncoder(again.model, option="--confirm-with"), again.share)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.open_for_writing(Path(folder) / "run.scan")
        settings = Settings(evaluation=tuple(evaluation))
        rows, _ = ingest.read_all(formats.discover([str(path) for path in data]), run, settings, threads)
        items, _ = matching.read_items(run, matching.survey(settings).sources, settings, threads)
        own = items_of(run).segments()
        compared = semantic.compare(run.segments(), rows.row_id, own, items, encoder, threads, by)
        return compared, rows.source[compared.place], rows.line[compared.place], items


def cases(folder: Path, embedder: str | None, again: Again | None, threads: int) -> Iterator[Case]:
    """Every search of the benchmark."""
    all_of_it = again and replace(again, share=1.0)
    sft, tests = folder / "sft", folder / "eval"
    everything = [tests / name for name in ORIGINALS]
    for name in CLEAN:
        compared, *_ = search([sft / name], everything, embedder, again, threads)
        yield Case(name, "", compared, *np.zeros((2, len(compared.item)), np.bool_), 0)
    alone = [(name, (name,), original) for name, original in PARAPHRASES]
    for name, names, original in (*alone, ("humaneval in three languages", LANGUAGES, "eval/humaneval.jsonl")):
        paths, own = [folder / REPHRASED / file for file in names], folder / original
        total = sum(int((pl.read_ndjson(path)["text"].str.strip_chars() != "").sum()) for path in paths)
        others = [p for p in everything if p != own]
        for where, data, known, reader in (
            ("by itself", paths, [own], all_of_it), (f"in {CROWD}", [*paths, sft / CROWD], [own, *others], again)
        ):  # fmt: skip
            compared, source, line, items = search(data, known, embedder, reader, threads)
            first = items.benchmarks.index(own.name)
            places = np.flatnonzero(items.benchmark == first)
            same = copies(items, places, compared.item)
            planted = source < len(paths)
            right = planted & ((line - 1) % len(places) == same)
            yield Case(f"{name}, {where}", family(name), compared, right, planted, total)


def copies(items: matching.Items, places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(c,) which of the items at `places` each wanted item is, or is a word for word copy of; -1 for none."""
    words = {tuple(_question(items, item)): i for i, item in reversed(list(enumerate(places.tolist())))}
    own = {item: i for i, item in enumerate(places.tolist())}
    return np.array([own.get(i, words.get(tuple(_question(items, i)), -1)) for i in wanted.tolist()], np.int64)


def _question(items: matching.Items, item: int) -> list[int]:
    found: list[int] = items.words[items.text_at[2 * item] : items.text_at[2 * item + 1]].tolist()
    return found


def fit(known: list[Case]) -> np.ndarray:
    """(4,) weights of a log likelihood ratio: logistic regression, each case and each kind of candidate weighing alike.

    Of the likest row of every item. Paraphrased rows that are nearest to another item than their own are no example of
    chance: many benchmarks hold variants of one question. They are left out here, and count as wrong in the tables.
    """
    usable = [(case.right | ~case.planted) & (case.compared.rank == 0) for case in known]
    features = np.concatenate([case.features[use] for case, use in zip(known, usable, strict=True)])
    right = np.concatenate([case.right[use] for case, use in zip(known, usable, strict=True)])
    weight = np.concatenate([_even(case.right[use]) for case, use in zip(known, usable, strict=True)])
    for kind in (right, ~right):
        weight[kind] *= 2000 / weight[kind].sum()
    scale = np.append(1.0, features[:, 1:].std(axis=0))
    scaled = features / scale

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        z = scaled @ b
        penalty = RIDGE * np.append(0.0, b[1:])
        slope = weight * (1 / (1 + np.exp(-z)) - right)
        value = (weight * (np.logaddexp(0, z) - right * z)).sum() + penalty @ b
        return float(value), scaled.T @ slope + 2 * penalty

    found: np.ndarray = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B").x / scale
    return found


def _even(right: np.ndarray) -> np.ndarray:
    return np.where(right, 1 / max(right.sum(), 1), 1 / max((~right).sum(), 1))


def main() -> None:
    """Parse, search, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedder")
    parser.add_argument("--confirm-with")
    parser.add_argument("--confirm-share", type=float, default=Settings.confirm_share)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    known = list(cases(chosen.data, chosen.embedder, None, chosen.threads))
    print(*tables(known, known), sep="\n", flush=True)
    if chosen.confirm_with:
        again = Again(chosen.confirm_with, chosen.confirm_share)
        print(f"\nread again by {again.model}, {again.share:.0%} of all questions\n")
        print(*tables(list(cases(chosen.data, chosen.embedder, again, chosen.threads)), known), sep="\n")
    print("\nFAST = ", ", ".join(f"{w:.2f}" for w in fit(known)))


def tables(judged: list[Case], known: list[Case]) -> Iterator[str]:
    """What is found by weights fitted on the other known cases, and how far the probabilities hold."""
    yield "| data | rows | found | recall | if it were the only one | wrong rows | read again |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    believed, true = [], []
    for case in judged:
        weights = fit([other for other in known if not belong_together(case, other)])
        right, wrong = case.found(weights)
        shown = (
            (case.rows, right, f"{right / case.rows:.1%}", f"{case.found_alone(weights) / case.rows:.1%}")
            if case.rows
            else ("",) * 4
        )
        work = case.compared.notes.get("work_share")
        yield f"| {case.name} | {' | '.join(map(str, shown))} | {wrong} | {'' if work is None else f'{work:.1%}'} |"
        believed.append(case.judged(weights))
        true.append(case.right)
    p, is_right = np.concatenate(believed), np.concatenate(true)
    yield "\n| probability | candidates | mean | right |\n|---|--:|--:|--:|"
    for low, high in itertools.pairwise(EDGES):
        inside = (p >= low) & ((p < high) | (high == 1.0))
        if inside.any():
            yield f"| {low} to {high} | {inside.sum():,} | {p[inside].mean():.3f} | {is_right[inside].mean():.3f} |"


if __name__ == "__main__":
    main()
