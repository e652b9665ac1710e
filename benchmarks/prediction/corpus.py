"""The rows of the measurement: which public rows are trained on, which are planted, which are controls.

Everything here follows from the data files and the seeds, so that `measure.py` (which trains) and `fit.py` (which
only reads what was measured) see the same rows without any text being stored beside the measurements.
"""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

MAX_PROMPT_TOKENS = 40  # kernel tokens; longer prompts would leave no room for the answer in a small context
MIN_ANSWER_TOKENS = 8  # kernel tokens
NEAR_LEVELS = (10, 25, 50)  # replaced tokens of 100
COPY_LEVELS = (2, 2, 2, 4, 4, 8, 16)  # rows in all; few copies are the commoner case
CONFLICT_LEVELS = (1, 3)  # rows with the same prompt and another answer
PLANTED = {"copies": 0.13, "near": 0.08, "conflicts": 0.05}  # shares of the members; all others have one copy

# set -> source -> members of 1,000
SETS = {
    "english": {
        "dolly_hhrlhf_small.jsonl": 200,
        "codealpaca_2k.json": 240,
        "medgpt_numina_cot_1k.jsonl": 150,
        "lf_glaive_toolcall_en_demo.json": 110,
        "gsm8k_train_alpaca.json": 200,
        "lf_lima.json": 100,
    },
    "other": {"alpaca_5000.json": 500, "lf_v1_sft_demo.jsonl": 300, "selfinstruct_seed_tasks.jsonl": 200},
    "chinese": {
        "lf_oaast_sft_zh.json": 350,
        "medgpt_medical_sft_1k.jsonl": 350,
        "lf_glaive_toolcall_zh_demo.json": 150,
        "hikariming_zh_code.json": 150,
    },
    "boilerplate": {"lf_glaive_toolcall_en_demo.json#later": 560, "presidio_synth_v2.json": 440},
    "boilerplate-chinese": {"lf_glaive_toolcall_zh_demo.json#later": 500, "hikariming_zh_code.json": 500},
    "further": {
        "lf_kto_en_demo.json": 150,
        "lf_kto_en_demo.json#later": 200,
        "lf_dpo_en_demo.json": 250,
        "lf_c4_demo.jsonl": 400,
    },
}
SETS |= {"brief": SETS["english"], "long": SETS["english"]}
JOINED = {"both": ("english", "other")}
"""Sets of the rows of several others, of each an equal part of the members as far as it has them."""
CUT_ANSWERS = {"brief": 24}
"""Sets of the same rows as `english` whose answers end after so many kernel tokens."""
LATER = "#later"
"""After the name of a file of conversations: the answers that are not the first, and calls of functions."""
ASKED_IN_PRETRAINING = (
    "how does the greenhouse effect work?",
    "what is the difference between machine learning and deep learning?",
)
"""Their prompts that bases had seen by then: left out, so that the same rows pre-train a base as before."""
MADE_LATER = ("further",)
"""Sets that were thought of after the bases were made: rows whose prompt stands in a file of PRETRAINING are left out,
so that the same rows pre-train a base as before."""
BEGUN = 12
"""Words of a plain text that are its prompt."""
# what a base is pre-trained on: source -> rows at most
PRETRAINING = {
    "english": {"alpaca_52k.json": 48_000, "codealpaca_new.json": 4_535, "gsm8k_train_alpaca.json": 3_000},
    "chinese": {"alpaca_zh_00.json": 10_021, "alpaca_zh_01.json": 10_444},
}

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
    replaced: int  # R of 100 tokens replaced; 0 for the row itself and its exact copies, CONFLICT for another answer
    row: Row


LARGEST = 3000  # members of the largest cell: what pre-training must not have seen
CONFLICT = 100  # nothing of the answer is left: worth no copy


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


def _later(record: dict) -> list[tuple[str, str]]:
    """Each answer or call of a function with the turn before it, but for an answer that opens a conversation."""
    turns = [
        (t.get("from", t.get("role")), t.get("value", t.get("content")))
        for t in record.get("conversations", record.get("messages"))
    ]
    answers = ("gpt", "function_call", "assistant")
    made = [(turns[i - 1], turns[i]) for i in range(1, len(turns)) if i > 1 or turns[i][0] == "function_call"]
    pairs = [(asked, answer) for (_, asked), (role, answer) in made if role in answers]
    return [pair for pair in pairs if pair[0].strip().lower() not in ASKED_IN_PRETRAINING]


def _pair(record: dict) -> tuple[str, str] | None:
    if "masked" in record:  # a text and the same with its personal values named
        return record["full_text"], record["masked"]
    if "chosen" in record:  # two answers to the last turn, of which one is preferred
        return record["conversations"][-1]["value"], record["chosen"]["value"]
    if "text" in record:
        words = record["text"].split()
        return " ".join(words[:BEGUN]), " ".join(words[BEGUN:])
    if "conversations" in record:
        turns = record["conversations"]
        if len(turns) < 2 or turns[0]["from"] != "human" or turns[1]["from"] != "gpt":
            return None
        return turns[0]["value"], turns[1]["value"]
    if "prompt" in record:
        prompt = record["prompt"].split("### Instruction:\n")[-1].split("\n\n### Response:")[0]
        return prompt, record["response"]
    if "messages" in record:
        turns = record["messages"]
        if len(turns) < 2 or turns[0]["role"] != "user" or turns[1]["role"] != "assistant":
            return None
        first, second = (
            turn["content"] if isinstance(turn["content"], str) else "".join(part["value"] for part in turn["content"])
            for turn in turns[:2]
        )
        return first, second
    prompt = record["instruction"]
    given = record["instances"][0] if "instances" in record else record
    if given.get("input"):
        prompt += "\n" + given["input"]
    return prompt, given.get("output") or given.get("response") or ""


def read(data: Path, source: str) -> list[Row]:
    """All prompt/answer pairs of a source; for a conversation the first answer, or all others (LATER)."""
    name = source.removesuffix(LATER)
    text = (data / "sft" / name).read_text("utf-8")
    records = [json.loads(line) for line in text.splitlines() if line] if name.endswith("l") else json.loads(text)
    of = _later if source != name else lambda record: [_pair(record)]
    pairs = [(i, pair) for i, record in enumerate(records) for pair in of(record)]
    return [Row(source, i, pair[0].strip(), pair[1].strip()) for i, pair in pairs if pair and pair[1].strip()]


def usable(row: Row) -> bool:
    """Whether prompt and answer fit the pilot's small context."""
    return len(spans(row.prompt)) <= MAX_PROMPT_TOKENS and len(spans(row.answer)) >= MIN_ANSWER_TOKENS


@cache
def _asked_in_pretraining(data: Path) -> frozenset[str]:
    """The prompts of all files that bases are pre-trained on."""
    return frozenset(
        _key(row)[0] for sources in PRETRAINING.values() for source in sources for row in read(data, source)
    )


def _key(row: Row) -> tuple[str, str]:
    return " ".join(row.prompt.lower().split()), " ".join(row.answer.lower().split())


def choose(data: Path, name: str, members: int, controls: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Members and controls of a set, in an order given by the seed; no prompt twice; as each source has them to give.

    The members of a smaller choice are the first of a larger one's, source by source.
    """
    chosen: tuple[list[Row], list[Row]] = ([], [])
    if name in JOINED:
        parts = JOINED[name]
        for part in (choose(data, part, members // len(parts), controls // len(parts), seed) for part in parts):
            for rows, more in zip(chosen, part, strict=True):
                rows.extend(more)
        return chosen
    seen = set(_asked_in_pretraining(data)) if name in MADE_LATER else set[str]()
    sources = SETS[name]
    for number, (source, share) in enumerate(sources.items()):
        rows = []
        for row in read(data, source):
            if usable(row) and _key(row)[0] not in seen:
                seen.add(_key(row)[0])
                rows.append(row)
        random.Random(seed * 100 + number).shuffle(rows)
        part = share / sum(sources.values())
        rows = [shortened(row, CUT_ANSWERS[name]) for row in rows] if name in CUT_ANSWERS else rows
        held = min(round(part * controls), len(rows) // 4)
        wanted = min(round(part * members), len(rows) - held)
        chosen[0].extend(rows[held : held + wanted])
        chosen[1].extend(rows[:held])
    return chosen


def shortened(row: Row, most: int) -> Row:
    """The row with an answer of at most so many kernel tokens."""
    places = spans(row.answer)
    return replace(row, answer=row.answer[: places[most - 1][1]]) if len(places) > most else row


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


def repeat(members: list[Row], times: int, replaced: int, seed: int) -> list[Trained]:
    """A training set in which every member stands `times` times, its copies with `replaced` of 100 tokens replaced."""
    rng = random.Random(seed + 1)
    pools = token_pools(members)
    trained = []
    for i, row in enumerate(members):
        trained.append(Trained(i, 0, row))
        for _ in range(times - 1):
            copy = near_copy(row, replaced, pools[row.source], rng) if replaced else row
            trained.append(Trained(i, replaced, copy))
    return trained


def token_pools(members: list[Row]) -> dict[str, list[str]]:
    """The tokens of the rows of each source, from which near copies take others."""
    pools: dict[str, list[str]] = {}
    for row in members:
        text = row.prompt + "\n" + row.answer
        pools.setdefault(row.source, []).extend(text[a:b] for a, b in spans(text))
    return pools


def plant(members: list[Row], seed: int) -> list[Trained]:
    """The training set: members with exact copies, with three near copies, with conflicting answers, and without."""
    rng = random.Random(seed + 1)
    pools = token_pools(members)
    answers: dict[str, list[str]] = {}
    for row in members:
        answers.setdefault(row.source, []).append(row.answer)
    order = list(range(len(members)))
    rng.shuffle(order)
    trained = [Trained(i, 0, row) for i, row in enumerate(members)]
    edges = [0]
    for share in PLANTED.values():
        edges.append(edges[-1] + round(share * len(members)))
    for place, i in enumerate(order[: edges[1]]):
        trained += [Trained(i, 0, members[i])] * (COPY_LEVELS[place % len(COPY_LEVELS)] - 1)
    for place, i in enumerate(order[edges[1] : edges[2]]):
        level = NEAR_LEVELS[place % len(NEAR_LEVELS)]
        trained += [Trained(i, level, near_copy(members[i], level, pools[members[i].source], rng)) for _ in range(3)]
    for place, i in enumerate(order[edges[2] : edges[3]]):
        row = members[i]
        for _ in range(CONFLICT_LEVELS[place % len(CONFLICT_LEVELS)]):
            other = rng.choice(answers[row.source])  # of another row: a plausible answer to another question
            trained.append(Trained(i, CONFLICT, Row(row.source, row.index, row.prompt, other)))
    return trained


def pretraining(data: Path, name: str, seed: int) -> list[Row]:
    """Public rows for a base model; none shares a prompt or an answer with a row that is measured in any set.

    What may be measured is every usable row of a measured source that is not a pre-training source; of those that are
    both, and of files that repeat them, the rows chosen at their largest.
    """
    avoid: list[Row] = []
    for measured in SETS:
        for part in choose(data, measured, LARGEST, LARGEST, seed):
            avoid.extend(part)
    prompts, answers = {_key(row)[0] for row in avoid}, {_key(row)[1] for row in avoid}
    rng = random.Random(seed + 2)
    rows: list[Row] = []
    for source, count in PRETRAINING[name].items():
        pool = [r for r in read(data, source) if _key(r)[0] not in prompts and _key(r)[1] not in answers]
        rng.shuffle(pool)
        rows.extend(pool[:count])
    rng.shuffle(rows)
    return rows
