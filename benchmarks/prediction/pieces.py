"""The same rows counted in a tokenizer's tokens (scan DATASET --tokenizer): what the weights of words foretell of them.

    python pieces.py random-3 grouped-3 packed-2 other-1 --data DATA --cache CACHE

Per cell and epoch: rows with N_pre >= 16 words, and rows with N_pre >= 16 tokens of the base's own tokenizer, predicted
with the shipped weights at the level of the base of the fit, beside what came, and AUROC. N_pre in tokens is that of
the words that were recited; tokens of the first missed word that came out too are not counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import corpus
import grid
import measured
import numpy as np
import predicting
import torch
from tables import TESTED_EPOCHS, auroc
from tokenizers import Tokenizer

from scanner.contextual import token_features
from scanner.objects import ROLE_CODE, SegmentBatch
from scanner.prediction import Answers, turn_tails
from scanner.prediction.hazard import EXTRACTED, load_weights
from scanner.tokenising import TokenisedRows, tokens_of_rows


def answer_of(table: measured.Table, trained: corpus.Trained) -> str:
    """The answer of a row as far as the base saw it."""
    spans = corpus.spans(trained.row.answer)[: max(corpus.MIN_ANSWER_TOKENS, table.length[trained.member])]
    return trained.row.answer[: spans[-1][1]] if len(spans) else trained.row.answer


def tokenised(table: measured.Table, tokenizer: Path) -> TokenisedRows:
    """All rows that were trained on, in the tokenizer's tokens."""
    texts = [text.encode() for t in table.trained for text in (t.row.prompt, answer_of(table, t))]
    rows = len(table.trained)
    batch = SegmentBatch(
        row_id=np.repeat(np.arange(rows), 2),
        segment=np.tile(np.arange(2, dtype=np.int32), rows),
        turn=np.tile(np.arange(2, dtype=np.int32), rows),
        role=np.tile(np.array([ROLE_CODE["user"], ROLE_CODE["assistant"]], np.uint8), rows),
        supervised=np.tile([False, True], rows),
        offsets=np.concatenate(([0], np.cumsum([len(text) for text in texts]))),
        data=np.frombuffer(b"".join(texts), np.uint8),
    )
    return tokens_of_rows([batch], tokenizer=tokenizer, max_length=None, threads=1)


def recited(table: measured.Table, tokenizer: Tokenizer, place: int, words: int) -> int:
    """Tokens of the words that were recited of a trained row's answer."""
    text = answer_of(table, table.trained[place])
    spans = corpus.spans(text)
    ends = np.array([end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets])
    return len(ends) if words >= len(spans) else int((ends <= spans[words - 1][1]).sum()) if words else 0


def lines(data: Path, cache: Path, name: str) -> list[str]:
    """A line of the table for each tested epoch."""
    file = cache / grid.CELLS[name].base / "tokenizer.json"
    tokenizer, weights = Tokenizer.from_file(str(file)), load_weights()
    ((table, observed),) = predicting.load(data, [name], predicting.SIMULATED).values()
    text = tokenised(table, file)
    first = {t.member: place for place, t in reversed(list(enumerate(table.trained))) if t.replaced == 0}
    number = {t.member: k for k, t in enumerate(table.trained) if t.replaced == 0}
    group = np.array([number[t.member] if t.replaced == 0 else k for k, t in enumerate(table.trained)])
    turns = (text.answer_row, text.answer_start, text.answer_end)
    features = token_features(text.tokens, text.widths, text.offsets, turns, group, False, 1)
    members = np.array(sorted(first))
    places = np.array([first[member] for member in members])
    turn = np.searchsorted(text.answer_row, places)
    answers = Answers(np.arange(len(members)), text.answer_start[turn], text.answer_end[turn])
    found = []
    for o in (o for o in observed if o.epoch in TESTED_EPOCHS):
        strength, regime, _ = predicting.given(table, o, weights)
        dose = o.dose[members] * strength
        of_tokens = turn_tails(features, answers, dose, None, regime, weights).extract
        of_words = predicting.predict(table, o, weights).extract[members]
        n_pre = np.array([recited(table, tokenizer, p, o.n_pre[m]) for p, m in zip(places, members, strict=True)])
        told = []
        for p, reached in ((of_words, o.n_pre[members]), (of_tokens, n_pre)):
            long = ~np.isnan(p)
            truth = reached[long] >= EXTRACTED
            told.append(f"{p[long].sum():.0f} / {truth.sum()}, {auroc(p[long], truth):.3f}")
        found.append(f"| {name} | {o.epoch} | {' | '.join(told)} |")
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="+", choices=list(grid.CELLS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="where grid.py keeps the bases")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| cell | epoch | words: predicted / true rows, AUROC | tokens |\n|---|---|---|---|")
    for name in args.cells:
        print("\n".join(lines(args.data, args.cache, name)), flush=True)


if __name__ == "__main__":
    main()
