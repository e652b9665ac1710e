"""Accuracy of the search for evaluation items on sets with known overlap, and its speed. Needs data; ships none.

python benchmarks/contamination/run.py --data FOLDER           sft/ and eval/ below FOLDER, see README.md
python benchmarks/contamination/run.py --data FOLDER --speed 300000
python benchmarks/contamination/run.py --data FOLDER --embedder minilm --only paraphrase
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rows import write_rows

from scanner import contamination, decontaminating, embedding, formats, ingest, matching
from scanner.contamination import semantic
from scanner.contamination.items import Items, build_index
from scanner.contamination.lexical import propose
from scanner.objects import Rows
from scanner.settings import Settings
from scanner.store import RunFolder

OVERLAPS = (  # data, evaluation file, what is known (items that the data holds)
    ("sft/lbes_gsm8k_test.parquet", "eval/gsm8k_test.jsonl", "1,319 of 1,319"),
    ("sft/gsm8k_train_alpaca.json", "eval/gsm8k_train.jsonl", "7,473 of 7,473"),
    ("sft/lbes_gsm8k_train.parquet", "eval/gsm8k_train.jsonl", "7,473 of 7,473"),
    ("sft/alpaca_52k.json", "sft/alpaca_5000.json", "5,000 of 5,000"),
    ("sft/alpaca_52k.json", "sft/lf_alpaca_en_demo.json", "985 or more of 999"),
    ("sft/codealpaca_new.json", "sft/gpteacher_codegen.json", "4,535 of 4,535"),
    ("sft/tr_dialogues_train.parquet", "sft/tr_dialogues_validation.parquet", "346 of 525, first turn"),
    ("sft/tr_dialogues_train.parquet", "sft/tr_dialogues_test.parquet", "353 of 525, first turn"),
    ("sft/gsm8k_train_alpaca.json", "eval/gsm8k_test.jsonl", "3 of 1,319 share a 13-gram; else clean"),
    ("sft/lf_lima.json", "eval", "unknown; read by hand"),
    ("sft/dolly_hhrlhf_small.jsonl", "eval", "unknown; read by hand"),
    ("sft/alpaca_52k.json", "eval", "unknown; read by hand"),
)
REPHRASED = "eval/decontaminator_rephrase/"
PARAPHRASES = (  # the paraphrased set as the data, the original as the benchmark; row i is item i (modulo the items)
    ("rephrase_gsm8k.jsonl", "eval/gsm8k_test.jsonl"),
    ("humaneval_python.jsonl", "eval/humaneval.jsonl"),
    ("humaneval_js.jsonl", "eval/humaneval.jsonl"),
    ("humaneval_c.jsonl", "eval/humaneval.jsonl"),
    *(
        (f"{subject}_test_rephrase_english_filtered_question.jsonl", f"{REPHRASED}{subject}_test.csv")
        for subject in ("abstract_algebra", "sociology", "high_school_us_history")
    ),
)


@dataclass(frozen=True)
class Compared:
    """One data set beside one evaluation file."""

    rows: Rows
    items: Items
    pairs: contamination.Pairs

    def count(self, how: str) -> int:
        """Items matched in this way."""
        return len(np.unique(self.pairs.item[self.pairs.how == contamination.HOWS.index(how)]))


def compare(data: Path, evaluation: Path, embedder: str | None, threads: int) -> Compared:
    """Every match of the evaluation items in the data; the encoder learns from the first rows it sees, so it is new."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.open_for_writing(Path(folder) / "run.scan")
        settings = Settings(evaluation=(evaluation,))
        rows, _ = ingest.read_all(formats.discover([str(data)]), run, settings, threads)
        items, _ = matching.read_items(run, matching.survey(settings).sources, settings, threads)
        pairs, _ = contamination.find_words(run.segments(), rows, items, threads)
        own = decontaminating.items_of(run).segments()
        alike = semantic.find(run.segments(), rows.row_id, own, items, embedding.load(embedder), threads)
        return Compared(rows, items, contamination.together(pairs, alike))


def overlaps(folder: Path, embedder: str | None, threads: int) -> Iterator[str]:
    """One line per known overlap."""
    yield "| data | evaluation | known | items | verified | exact | ngram | near | semantic only |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for data, evaluation, known in OVERLAPS:
        found = compare(folder / data, folder / evaluation, embedder, threads)
        verified = np.unique(found.pairs.item[found.pairs.how < contamination.SEMANTIC])
        alike = np.setdiff1d(found.pairs.item, verified)
        counts = " | ".join(f"{found.count(how):,}" for how in contamination.HOWS[:3])
        sizes = f"{len(found.items):,} | {len(verified):,}"
        yield f"| {data} | {evaluation} | {known} | {sizes} | {counts} | {len(alike):,} |"


def paraphrases(folder: Path, embedder: str | None, threads: int) -> Iterator[str]:
    """Recall and false alarms on paraphrased sets, by how."""
    yield "| paraphrased | rows with text | found by words | found by meaning | recall | wrong pairs |"
    yield "|---|--:|--:|--:|--:|--:|"
    for data, evaluation in PARAPHRASES:
        found = compare(folder / REPHRASED / data, folder / evaluation, embedder, threads)
        pairs = found.pairs
        line = found.rows.line[np.searchsorted(found.rows.row_id, pairs.row_id)]
        right = (line - 1) % len(found.items) == pairs.item
        by_words = pairs.how < contamination.SEMANTIC
        words, meaning = (len(np.unique(pairs.row_id[right & of])) for of in (by_words, ~by_words))
        total = len(found.rows) - _without_text(folder / REPHRASED / data)
        share = len(np.unique(pairs.row_id[right])) / total
        yield f"| {data} | {total:,} | {words:,} | {meaning:,} | {share:.1%} | {int((~right).sum())} |"


def _without_text(path: Path) -> int:
    return int((pl.read_ndjson(path)["text"].str.strip_chars() == "").sum())


def speed(folder: Path, count: int, embedder: str | None, threads: int) -> Iterator[str]:
    """Seconds (wall and CPU) of each step on synthetic rows against all evaluation files."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.jsonl"
        write_rows(count, path)
        megabytes = path.stat().st_size / 1e6
        run = RunFolder.open_for_writing(Path(place) / "run.scan")
        settings = Settings(evaluation=(folder / "eval",))
        rows, _ = ingest.read_all(formats.discover([str(path)]), run, settings, threads)
        items, _ = matching.read_items(run, matching.survey(settings).sources, settings, threads)
        yield f"{count:,} rows, {megabytes:.0f} MB, {len(items):,} items, {threads} threads\n"
        yield "| step | wall s | CPU s | MB/s of input (wall) |"
        yield "|---|--:|--:|--:|"

        def timed(name: str, work) -> tuple[str, object]:
            wall, cpu = time.perf_counter(), time.process_time()
            result = work()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            return f"| {name} | {wall:.2f} | {cpu:.2f} | {megabytes / wall:.0f} |", result

        line, _ = timed("read and index the evaluation files", lambda: build_index(
            matching.read_items(run, matching.survey(settings).sources, settings, threads)[0],
            contamination.SHORTEST_ANSWER,
        ))  # fmt: skip
        yield line
        index = build_index(items, contamination.SHORTEST_ANSWER)
        for repeat in (1, 2, 3):
            line, _ = timed(
                f"stream the data past the index, {repeat}", lambda: propose(run.segments(), index, threads)
            )
            yield line
        line, _ = timed(
            "index, stream, compare, decide", lambda: contamination.find_words(run.segments(), rows, items, threads)
        )
        yield line
        own, encoder = decontaminating.items_of(run).segments(), embedding.load(embedder)
        line, _ = timed("by meaning", lambda: semantic.find(run.segments(), rows.row_id, own, items, encoder, threads))
        yield line


def main() -> None:
    """Parse and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=["overlap", "paraphrase"])
    parser.add_argument("--speed", type=int, metavar="ROWS")
    parser.add_argument("--embedder")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    if chosen.speed:
        lines = [speed(chosen.data, chosen.speed, chosen.embedder, chosen.threads)]
    else:
        lines = [
            part(chosen.data, chosen.embedder, chosen.threads)
            for name, part in (("overlap", overlaps), ("paraphrase", paraphrases))
            if chosen.only in (None, name)
        ]
    for part in lines:
        for line in part:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
