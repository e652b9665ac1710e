"""Alpaca-like rows by a public recipe: words by topic, template prompts, planted exact and near copies. Seeded.

    python benchmarks/rows.py 300000 rows.jsonl

About 400 bytes per row, as in Stanford Alpaca. One row in 50 is an exact copy of an earlier one and one
in 50 a near copy with 1 to 8 words replaced; no data set is needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

VERBS = (
    "Write", "Explain", "List", "Describe", "Summarize", "Compare", "Name", "Rewrite", "Classify", "Give",
    "Create", "Find", "Translate", "Suggest", "Generate", "Identify",
)  # fmt: skip
OBJECTS = (
    "a short story about", "three reasons for", "the main idea of", "the steps of", "the history of", "an example of",
    "the advantages of", "a poem about", "the difference between", "a sentence with", "a function that computes",
)  # fmt: skip
TABLE = Path(__file__).resolve().parents[1] / "scanner" / "static_table" / "tokenizer.json"
TOPICS, WORDS_PER_TOPIC = 600, 150
BLOCK = 2_000


def vocabulary() -> np.ndarray:
    """English words: the whole words of the shipped encoder's vocabulary, in its order, which is that of frequency."""
    known = json.loads(TABLE.read_text("utf-8"))["model"]["vocab"]
    words = sorted(known, key=known.get) if isinstance(known, dict) else [entry[0] for entry in known]
    return np.array([w for w in words if w.isascii() and w.isalpha() and len(w) > 1])


def write_rows(count: int, path: Path, seed: int = 7) -> None:
    """Write `count` rows as JSON Lines (instruction, input, output)."""
    rng = np.random.default_rng(seed)
    words = vocabulary()
    share = 1.0 / np.arange(3, len(words) + 3) ** 1.05
    share /= share.sum()
    topics = rng.integers(200, len(words), (TOPICS, WORDS_PER_TOPIC))
    earlier: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, count, BLOCK):
            size = min(BLOCK, count - first)
            lengths = np.clip(rng.lognormal(3.35, 0.8, size).astype(int), 4, 600)
            total = int(lengths.sum()) + 6 * size
            drawn = words[rng.choice(len(words), total, p=share)]
            # half of the words come from the row's topic: rows on one topic lie near one another, as real rows do
            topic_of = np.repeat(rng.integers(0, TOPICS, size), lengths + 6)
            on_topic = rng.random(total) < 0.5
            place = (WORDS_PER_TOPIC * rng.random(total) ** 2).astype(int)
            drawn[on_topic] = words[topics[topic_of[on_topic], place[on_topic]]]
            kinds = rng.random(size)
            at, block = 0, []
            for i in range(size):
                topic = " ".join(drawn[at : at + 6])
                body = drawn[at + 6 : at + 6 + lengths[i]]
                at += 6 + lengths[i]
                kind = kinds[i]
                if earlier and kind < 0.02:
                    block.append(earlier[int(rng.integers(len(earlier)))])
                    continue
                if earlier and kind < 0.04:
                    text = earlier[int(rng.integers(len(earlier)))].split(" ")
                    for _ in range(int(rng.integers(1, 9))):
                        place = int(rng.integers(1, len(text)))
                        if text[place].isalpha():
                            text[place] = str(words[int(rng.integers(len(words)))])
                    block.append(" ".join(text))
                    continue
                verb, thing = VERBS[int(rng.integers(len(VERBS)))], OBJECTS[int(rng.integers(len(OBJECTS)))]
                pieces = [" ".join(body[j : j + 12]) for j in range(0, len(body), 12)]
                given = topic if kind > 0.6 else ""
                block.append(
                    f'{{"instruction": "{verb} {thing} {topic}.", "input": "{given}", '
                    f'"output": "{". ".join(pieces).capitalize()}."}}'
                )
            file.write("\n".join(block) + "\n")
            earlier = block[::4]


if __name__ == "__main__":
    write_rows(int(sys.argv[1]), Path(sys.argv[2]))
