"""What the table's size, order and fingerprints are worth: cross-entropy of text it was not built from.

python benchmarks/background/measure.py DATA        # about six minutes on one core; prints the tables of README.md
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from build import SEED, SIZE, collect, joined, tokenised
from model import Array, Corpus, Counts, count, fit, longer_keys, smooth
from sources import VALIDATION, Source, texts_of

from scanner.background import BackgroundTable, background
from scanner.kernels.background import SLOTS, UNKNOWN_KEY

SIZES = (0.5, 1.0, 2.0, 4.0, 16.0)  # MB, beside the shipped one
MOST = 300_000  # tokens of a kind


def main() -> None:
    """Parse, collect, count, report."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    data = arguments.parse_args().data
    found, _ = collect(data, SEED)
    report(data, found, count(joined([part for _, part, _ in found])))


def report(data: Path, found: list[tuple[Source, Corpus, Corpus]], counts: Counts) -> None:
    """Print every table."""
    held: dict[str, list[Corpus]] = {}
    for source, _, part in found:
        held.setdefault(source.kind, []).append(part)
    texts = {kind: cut(joined(parts)) for kind, parts in held.items()}
    texts["Wikipedia, English"] = cut(tokenised(texts_of(data / "sft" / "lf_wiki_demo.txt")))
    validation = {name: cut(tokenised(texts_of(data / "sft" / name))) for name in VALIDATION}
    smoothed = smooth(counts)

    print("nats per token |", " | ".join(texts), flush=True)
    shipped = fit(counts, smoothed, int(SIZE * 1e6))
    line(f"{SIZE:g} MB", shipped, texts)
    print("unknown |", " | ".join(f"{unknown(shipped, text):.1%}" for text in texts.values()))
    for size in SIZES:
        line(f"{size:g} MB", fit(counts, smoothed, int(size * 1e6)), texts)
    for order in (1, 2):
        line(f"{SIZE:g} MB, order {order}", fit(counts, smoothed, int(SIZE * 1e6), order=order), texts)
    for bits in (3, 4, 6, 7):
        line(f"{SIZE:g} MB, {bits} bits of level", fit(counts, smoothed, int(SIZE * 1e6), bits=bits), texts)
    for share in (0.35, 0.65):
        line(f"{SIZE:g} MB, {share:.0%} pairs", fit(counts, smoothed, int(SIZE * 1e6), pair_share=share), texts)

    print("\nfingerprints: tokens answered by an n-gram that was never counted, and what it costs")
    for kind, text in texts.items():
        false, exact = without_accidents(shipped, counts, text)
        print(f"{kind}: {false:.3%} of tokens, {entropy(shipped, text) - exact:+.4f} nats per token")
    print("\nnever chosen on, never in the table: files that the predictor is validated on")
    for name, text in validation.items():
        print(f"{name} | {entropy(shipped, text):.2f} | {unknown(shipped, text):.1%}")
    speed(shipped, joined(list(texts.values())))


def cut(text: Corpus) -> Corpus:
    """The first documents of about MOST tokens, in an order of their own."""
    lengths = np.diff(text.offsets)
    order = np.random.default_rng(SEED).permutation(len(lengths))
    order = order[np.cumsum(lengths[order]) <= max(MOST, lengths[order[0]])]
    parts = [text.tokens[text.offsets[i] : text.offsets[i + 1]] for i in order.tolist()]
    return Corpus(np.concatenate(parts), np.concatenate(([0], np.cumsum(lengths[order]))))


def entropy(table: BackgroundTable, text: Corpus) -> float:
    """Nats per token."""
    return float(-background(text.tokens, text.offsets, 1, table).log_probability.mean(dtype=np.float64))


def unknown(table: BackgroundTable, text: Corpus) -> float:
    """Share of tokens that are not in the table."""
    share = background(text.tokens, text.offsets, 1, table).unknown_share
    return float(np.nansum(share * np.diff(text.offsets)) / text.offsets[-1])


def line(name: str, table: BackgroundTable, texts: dict[str, Corpus]) -> None:
    """Print a row of a table."""
    values = " | ".join(f"{entropy(table, text):.3f}" for text in texts.values())
    print(f"{name} ({table.nbytes / 1e6:.1f}) | {values}", flush=True)


def without_accidents(table: BackgroundTable, counts: Counts, text: Corpus) -> tuple[float, float]:
    """(share of tokens answered by accident, nats per token without accidents).

    Where the table holds an n-gram that was never counted, the answer of a table without triples, or of one without
    pairs, stands in for it.
    """
    size = len(counts.words)
    order = np.argsort(counts.words)
    at = order[np.minimum(np.searchsorted(counts.words[order], text.tokens), size - 1)]
    word = np.where(counts.words[at] == text.tokens, at, 0)
    place = np.arange(len(word)) - np.repeat(text.offsets[:-1], np.diff(text.offsets))

    def counted(context: Array, last: Array, keys: Array) -> Array:
        key = context * size + last
        spot = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        return np.where((keys[spot] == key) & (context >= 0), spot, -1)

    before = np.roll(word, 1)
    pair = counted(np.where(place >= 1, before, -1), word, counts.pairs.context * size + counts.pairs.word)
    context = np.where(place >= 2, np.roll(pair, 1), -1)
    triple = counted(context, word, counts.triples.context * size + counts.triples.word)
    keys = np.where(word > 0, text.tokens, UNKNOWN_KEY)
    pair_keys = longer_keys(np.roll(keys, 1), keys)
    triple_keys = longer_keys(np.roll(pair_keys, 1), keys)
    all3 = background(text.tokens, text.offsets, 1, table).log_probability
    no3 = background(text.tokens, text.offsets, 1, replace(table, triples=np.zeros_like(table.triples))).log_probability
    none = replace(table, triples=np.zeros_like(table.triples), pairs=np.zeros_like(table.pairs))
    no2 = background(text.tokens, text.offsets, 1, none).log_probability
    wrong3 = (place >= 2) & (triple < 0) & hit(table.triples, table.bits, triple_keys) & (all3 != no3)
    wrong2 = (place >= 1) & (pair < 0) & hit(table.pairs, table.bits, pair_keys) & (no3 != no2)
    exact = np.where(wrong2, no2, np.where(wrong3, no3, all3))
    return float((wrong2 | wrong3).mean()), float(-exact.mean(dtype=np.float64))


def hit(slots: Array, bits: int, keys: Array) -> Array:
    """Whether a table of slots answers to each key."""
    bucket = ((keys >> np.uint64(32)) * np.uint64(len(slots) // SLOTS) >> np.uint64(32)).astype(np.int64)
    mark = np.maximum(keys & np.uint64((1 << (16 - bits)) - 1), np.uint64(1))
    held = slots.reshape(-1, SLOTS)[bucket] >> np.uint16(bits)
    return (held == mark[:, None].astype(np.uint16)).any(axis=1)


def speed(table: BackgroundTable, text: Corpus) -> None:
    """Tokens per second of one core, in processor time."""
    background(text.tokens, text.offsets, 1, table)
    begun, rounds = time.process_time(), 5
    for _ in range(rounds):
        background(text.tokens, text.offsets, 1, table)
    seconds = (time.process_time() - begun) / rounds
    print(f"\n{len(text.tokens) / seconds / 1e6:.1f} M tokens per second of processor time")


if __name__ == "__main__":
    main()
