"""Measure the shipped rules: recall and precision on gold spans, hits on clean sets, and time.

    python benchmarks/rules/measure.py --data DIR

DIR holds the public sets named below. Only counts are printed, never text; --show FILE:RULE prints the hits of one
rule on one set, for a person who looks at them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scanner import rulebook

GOLD = ("presidio_synth_v2.json", "presidio_generated_large.json")
FAMILIES = {  # gold type -> rules that answer for it
    "EMAIL_ADDRESS": {"private/email"},
    "PHONE_NUMBER": {"private/phone", "private/phone_labelled", "private/cn_mobile"},
    "CREDIT_CARD": {"private/credit_card"},
    "IBAN_CODE": {"private/iban"},
    "IP_ADDRESS": {"private/ipv4", "private/ipv6"},
    "US_SSN": {"private/us_ssn"},
}
CLEAN = (
    "alpaca_52k.json", "medgpt_numina_cot_1k.jsonl", "codealpaca_new.json", "gpteacher_codegen.json", "lf_lima.json",
    "lf_glaive_toolcall_en_demo.json", "lf_glaive_toolcall_zh_demo.json", "medgpt_sharegpt_zh_1k.jsonl",
    "medgpt_medical_sft_1k.jsonl", "alpaca_zh_00.json", "gsm8k_train_alpaca.json", "lf_c4_demo.jsonl",
)  # fmt: skip


def strings(value: Any) -> Iterator[str]:
    """All strings of a parsed record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def frame_of(path: Path) -> pl.DataFrame:
    """Every string of a .json or .jsonl file as one frame."""
    raw = path.read_text("utf-8", errors="replace")
    records = json.loads(raw) if path.suffix == ".json" else [json.loads(line) for line in raw.splitlines() if line]
    rows = [(i, s, text) for i, record in enumerate(records) for s, text in enumerate(strings(record))]
    return pl.DataFrame(rows, schema={"row_id": pl.Int64, "segment": pl.Int32, "text": pl.String}, orient="row")


def chunks(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """The frame in the batches in which an audit would hand it over."""
    return list(frame.iter_slices(16_384))


def on_gold(book: rulebook.Rulebook, path: Path) -> None:
    """Recall and precision per type on one set with gold spans."""
    records = json.loads(path.read_text("utf-8"))
    frame = pl.DataFrame(
        {"row_id": range(len(records)), "segment": [0] * len(records), "text": [r["full_text"] for r in records]},
        schema={"row_id": pl.Int64, "segment": pl.Int32, "text": pl.String},
    )
    found: dict[int, list[tuple[int, int, str]]] = {}
    for row in book.find(chunks(frame)).iter_rows(named=True):
        found.setdefault(row["row_id"], []).append((row["start"], row["end"], row["rule_id"]))
    print(f"\n{path.name}: {len(records)} texts\n{'type':14} gold covered exact any-rule  found right precision")
    for kind, rules in FAMILIES.items():
        gold = [(i, s["start_position"], s["end_position"]) for i, r in enumerate(records) for s in r["spans"]
                if s["entity_type"] == kind]  # fmt: skip
        mine = [(i, a, b) for i, spans in found.items() for a, b, rule in spans if rule in rules]
        covered = sum(any(j == i and s <= a and e >= b for j, s, e in mine) for i, a, b in gold)
        exact = sum((i, a, b) in set(mine) for i, a, b in gold)
        other = sum(any(s < b and e > a for s, e, _ in found.get(i, ())) for i, a, b in gold)
        right = sum(any(j == i and s < b and e > a for j, a, b in gold) for i, s, e in mine)
        precision = f"{right / len(mine):.3f}" if mine else "-"
        share = f"{covered / len(gold):.3f}" if gold else "-"
        print(f"{kind:14} {len(gold):4} {share:>7} {exact:5} {other:8}  {len(mine):5} {right:5} {precision:>9}")


def on_clean(book: rulebook.Rulebook, data: Path) -> None:
    """Hits per rule and time on the sets that should hold little."""
    print(f"\n{'set':34} {'strings':>8} {'MB':>6} {'s':>6}  hits per rule")
    for name in CLEAN:
        frame = frame_of(data / name)
        parts = chunks(frame)
        started = time.perf_counter()
        found = book.find(parts)
        seconds = time.perf_counter() - started
        hits = Counter(found["rule_id"].to_list())
        size = frame["text"].str.len_bytes().sum() / 1e6
        said = ", ".join(f"{rule.split('/')[1]} {n}" for rule, n in sorted(hits.items())) or "none"
        print(f"{name:34} {len(frame):8} {size:6.1f} {seconds:6.2f}  {said}")


def show(book: rulebook.Rulebook, path: Path, rule_id: str) -> None:
    """Print the hits of one rule with the text around them."""
    frame = frame_of(path)
    found = book.find(chunks(frame)).filter(pl.col("rule_id").str.contains(rule_id, literal=True))
    for row in found.join(frame, on=["row_id", "segment"]).iter_rows(named=True):
        text, a, b = row["text"], row["start"], row["end"]
        print(f"{row['rule_id']} {row['row_id']}: {text[max(0, a - 40) : a]!r} >>{text[a:b]!r}<< {text[b : b + 20]!r}")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--show", help="FILE:RULE, for example alpaca_52k.json:private/phone")
    arguments = parser.parse_args()
    book = rulebook.load()
    if arguments.show:
        name, _, rule_id = arguments.show.partition(":")
        show(book, arguments.data / name, rule_id)
        return
    for name in GOLD:
        on_gold(book, arguments.data / name)
    on_clean(book, arguments.data)


if __name__ == "__main__":
    main()
