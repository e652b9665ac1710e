"""The rows of the measurement: which public rows are trained on, which are planted, which are controls.

Everything here follows from the data files and the seeds, so that `measure.py` (which trains) and `fit.py` (which
only reads what was measured) see the same rows without any text being stored beside the measurements.
"""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MAX_PROMPT_TOKENS = 60  # kernel tokens; longer prompts would leave no room for the answer in the pilot's context
MIN_ANSWER_TOKENS = 6  # kernel tokens
NEAR_LEVELS = (10, 25, 50)  # replaced tokens of 100
COPY_LEVELS = (2, 4, 8)
CONTROL_STRIDE = 2  # every second control is measured, to save time

# source -> members of 1,000; as many rows again are controls
SOURCES = {
    "dolly_hhrlhf_small.jsonl": 200,
    "codealpaca_2k.json": 240,
    "medgpt_numina_cot_1k.jsonl": 170,
    "lf_glaive_toolcall_en_demo.json": 110,
    "gsm8k_train_alpaca.json": 180,
    "lf_lima.json": 100,
}
PRETRAINING = {"alpaca_52k.json": 18_000, "codealpaca_new.json": 4_535, "gsm8k_train_alpaca.json": 3_000}
FURTHER = {"alpaca_52k.json": 30_000}  # rows of the second half of pre-training; those of the first are not repeated

_CJK = (
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x303B, 0x303B), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One prompt with one answer; `index` is the record's place in its file."""

    source: str
    index: int
    prompt: str
    answer: str


@dataclass(frozen=True)
class Trained:
    """A row of the training set: a member, or a planted copy of one (`member` is the member's place in the list)."""

    member: int
    replaced: int  # R of 100 tokens replaced; 0 for the row itself and its exact copies
    row: Row


@lru_cache(maxsize=1 << 16)
def _class(char: str) -> str:
    point = ord(char)
    if any(low <= point <= high for low, high in _CJK):
        return "single"
    category = unicodedata.category(char)
    if category[0] in "LMN":
        return "word"
    if category[0] == "Z" or category in ("Cc", "Cf", "Cs"):
        return "separator"
    return "single"


def spans(text: str) -> list[tuple[int, int]]:
    """Kernel tokens of a text as (start, end) in code points: the slow, obvious twin of the scanner's kernel."""
    found: list[tuple[int, int]] = []
    start = -1
    for place, char in enumerate(text):
        kind = _class(char)
        if kind == "word":
            start = place if start < 0 else start
            continue
        if start >= 0:
            found.append((start, place))
            start = -1
        if kind == "single":
            found.append((place, place + 1))
    if start >= 0:
        found.append((start, len(text)))
    return found


def sha256(path: Path) -> str:
    """Hex digest of a data file: the provenance that stands beside the measurements."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pair(record: dict) -> tuple[str, str] | None:
    if "conversations" in record:
        turns = record["conversations"]
        if len(turns) < 2 or turns[0]["from"] != "human" or turns[1]["from"] != "gpt":
            return None
        return turns[0]["value"], turns[1]["value"]
    if "prompt" in record:
        prompt = record["prompt"].split("### Instruction:\n")[-1].split("\n\n### Response:")[0]
        return prompt, record["response"]
    prompt = record["instruction"]
    if record.get("input"):
        prompt += "\n" + record["input"]
    return prompt, record.get("output") or record.get("response") or ""


def read(data: Path, source: str) -> list[Row]:
    """All prompt/answer pairs of a source; for a conversation the first answer."""
    text = (data / "sft" / source).read_text("utf-8")
    records = [json.loads(line) for line in text.splitlines() if line] if source.endswith("l") else json.loads(text)
    pairs = [(i, _pair(record)) for i, record in enumerate(records)]
    return [Row(source, i, pair[0].strip(), pair[1].strip()) for i, pair in pairs if pair and pair[1].strip()]


def usable(row: Row) -> bool:
    """Whether prompt and answer fit the pilot's small context."""
    return len(spans(row.prompt)) <= MAX_PROMPT_TOKENS and len(spans(row.answer)) >= MIN_ANSWER_TOKENS


def _key(row: Row) -> tuple[str, str]:
    return " ".join(row.prompt.lower().split()), " ".join(row.answer.lower().split())


def choose(data: Path, members: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Members and controls: as many of each source, no prompt twice, in an order given by the seed."""
    rng = random.Random(seed)
    chosen: tuple[list[Row], list[Row]] = ([], [])
    seen: set[str] = set()
    for source, share in SOURCES.items():
        wanted = round(share * members / sum(SOURCES.values()))
        rows = []
        for row in read(data, source):
            if usable(row) and _key(row)[0] not in seen:
                seen.add(_key(row)[0])
                rows.append(row)
        rng.shuffle(rows)
        wanted = min(wanted, len(rows) // 2)
        chosen[0].extend(rows[:wanted])
        chosen[1].extend(rows[wanted : 2 * wanted])
    return chosen


def near_copy(row: Row, replaced: int, pool: list[str], rng: random.Random) -> Row:
    """The row with `replaced` of 100 tokens (prompt and answer) exchanged for tokens drawn from the pool."""

    def exchange(text: str) -> str:
        places = spans(text)
        count = round(len(places) * replaced / 100)
        parts, last = [], 0
        for start, end in sorted(rng.sample(places, count)):
            parts += [text[last:start], rng.choice(pool)]
            last = end
        return "".join([*parts, text[last:]])

    return Row(row.source, row.index, exchange(row.prompt), exchange(row.answer))


def plant(members: list[Row], seed: int) -> list[Trained]:
    """The training set: a fifth of the members with 2, 4 or 8 exact copies, a fifth with three near copies."""
    rng = random.Random(seed + 1)
    pools: dict[str, list[str]] = {}
    for row in members:
        text = row.prompt + "\n" + row.answer
        pools.setdefault(row.source, []).extend(text[a:b] for a, b in spans(text))
    order = list(range(len(members)))
    rng.shuffle(order)
    fifth = len(members) // 5
    trained = [Trained(i, 0, row) for i, row in enumerate(members)]
    for place, i in enumerate(order[:fifth]):
        trained += [Trained(i, 0, members[i])] * (COPY_LEVELS[place % 3] - 1)
    for place, i in enumerate(order[fifth : 2 * fifth]):
        level = NEAR_LEVELS[place % 3]
        trained += [Trained(i, level, near_copy(members[i], level, pools[members[i].source], rng)) for _ in range(3)]
    return trained


def pretraining(data: Path, avoid: list[Row], seed: int, further: bool = False) -> list[Row]:
    """Public rows for the base model; none shares a prompt or an answer with a member, a copy or a control."""
    rng = random.Random(seed + 2)
    prompts, answers = {_key(row)[0] for row in avoid}, {_key(row)[1] for row in avoid}
    rows: list[Row] = []
    for source, count in PRETRAINING.items():
        pool = [r for r in read(data, source) if _key(r)[0] not in prompts and _key(r)[1] not in answers]
        rng.shuffle(pool)
        rows.extend(pool[count : count + FURTHER.get(source, 0)] if further else pool[:count])
    rng.shuffle(rows)
    return rows
