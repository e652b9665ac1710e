"""Benchmarks: multiple choice (see _choices), questions about a passage, bare lists of user turns, headless MMLU.

Questions about a passage are SQuAD's, one a record or in paragraphs, BoolQ's and DROP's; TruthfulQA's, SciQ's and
GPQA's have a best or correct answer among wrong ones, those of TriviaQA and Natural Questions several. Also questions
alone, tasks under their names in one object ({"Mbpp/2": "Write ..."}), records under their ids in one object, and test
cases beside the training texts they were compared with ({"test": ..., "train": [...], "results": [...]}, as
llm-decontaminator writes them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.jsonediting import parts_of
from scanner.layouts import _choices
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import Path, leaves, require_object
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "benchmark"
DESCRIPTION = "benchmark items: question with choices or about a passage, lists of user turns, MMLU tables, tasks by id"
FLAT = False  # "answer": "2" says which of the other fields is the answer
EXAMPLES: tuple[Any, ...] = (
    {"question": "1 + 2?", "choices": ["3", "4"], "answer": 0},
    {
        "question": {"stem": "1 + 2?", "choices": [{"text": "3", "label": "A"}, {"text": "4", "label": "B"}]},
        "answerKey": "A",
    },
    {"question_stem": "1 + 2 is", "choices": {"text": ["3", "4"], "label": ["A", "B"]}, "answerKey": "A"},
    {"ctx": "She counts one, two,", "endings": ["three.", "a dog."], "label": "0"},
    {"sentence": "Ann thanked Eve, for _ had helped.", "option1": "Ann", "option2": "Eve", "answer": "2"},
    {"goal": "Add 1 and 2.", "sol1": "Count on.", "sol2": "Guess.", "label": 0},
    {"question": "Is 1 + 2 four?", "passage": "1 + 2 is 3.", "answer": False},
    {"question": "What is 1 + 2?", "context": "1 + 2 is 3.", "answers": {"text": ["3"], "answer_start": [9]}},
    {
        "title": "Sums",
        "paragraphs": [
            {"context": "1 + 2 is 3.", "qas": [{"id": "a", "question": "What is 1 + 2?", "answers": [{"text": "3"}]}]}
        ],
    },
    {"question": "1 + 2?", "best_answer": "3", "correct_answers": ["3", "three"], "incorrect_answers": ["4"]},
    {"question": "1 + 2?", "correct_answer": "3", "distractor1": "4", "distractor2": "5", "support": ""},
    {"Question": "1 + 2?", "Correct Answer": "3", "Incorrect Answer 1": "4", "Explanation": "Count."},
    {"Body": "Ann has 1 and Eve 2.", "Question": "How many have both?", "Answer": "3", "Equation": "(1 + 2)"},
    {"question": "1 + 2?", "answer": ["3", "three"]},
    {"question": "1 + 2?", "answer": {"aliases": ["three"], "value": "3"}},
    {"passage": "1 + 2 is 3.", "question": "What is 1 + 2?", "answers_spans": {"spans": ["3"], "types": ["number"]}},
    {"question": "1 + 2?", "opa": "3", "opb": "4", "opc": "5", "opd": "6", "cop": 0},
    {"key": 1, "prompt": "Write two words.", "instruction_id_list": ["length:words"]},
    {"turns": [{"content": "Write a poem."}], "category": "arena"},
    {"question": "1 + 2?"},
    {"turns": ["Write a poem.", "Make it rhyme."], "reference": ["Roses.", "Red."]},
    {"column_1": "1 + 2?", "column_2": "3", "column_3": "4", "column_4": "5", "column_5": "6", "column_6": "A"},
    {"Task/1": "Write a function that adds.", "Task/2": "Write a function that doubles."},
    {"a1": {"question": "1 + 2?", "answer": "3"}, "a2": {"question": "1 + 3?", "answer": "4"}},
    {"test": "def add(a, b): return a + b", "train": ["def plus(a, b): return a + b"], "results": [True]},
)

_TASK = re.compile(r"[A-Za-z][\w.-]*/\d+\Z")
_MMLU = tuple(f"column_{i}" for i in range(1, 7))
_NAMED_ANSWERS = ("best_answer", "correct_answer", "Answer", "Best Answer", "Correct Answer")
_LEARNED = frozenset({"response", "output", "completion"})  # beside these, choices are part of a prompt
_HEADS = _choices.HEADS | {"turns", "reference", "answers", "answers_spans", "test", "train", *_MMLU}


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    if not isinstance(record, Mapping):
        return 0.0
    turns = record.get("turns")
    if isinstance(turns, list) and turns and all(_text_of_turn(turn) for turn in turns):
        return 0.9
    if tuple(record) == _MMLU:
        return 0.9 if record[_MMLU[-1]] in tuple("ABCD") else 0.0
    if _is_compared(record) or _is_by_name(record) or _is_of_paragraphs(record) or _is_by_id(record):
        return 0.9
    return _fits(record)


def _fits(record: Mapping[str, Any]) -> float:
    """How well a record fits that is one question."""
    path = _choices.question_of(record)
    if path is None:
        return 0.0
    if _choices.choices_of(record):
        return 0.95 if _LEARNED.isdisjoint(record) else 0.8
    if path == ("prompt",):
        return 0.9 if "instruction_id_list" in record else 0.0
    if set(record) - ID_FIELDS == {"question"}:
        return 0.5
    answered = type(record.get("answer")) in (bool, list, dict) or isinstance(record.get("answers"), Mapping)
    answered |= "answers_spans" in record or any(isinstance(record.get(key), str | int) for key in _NAMED_ANSWERS)
    return 0.9 if answered and path[0] in ("question", "Question", "Problem") else 0.0


def _text_of_turn(turn: Any) -> tuple[Path, str] | None:
    """Where the text of a turn of a list stands below it, and the text; None for a message that says whose it is."""
    if isinstance(turn, str):
        return (), turn
    is_bare = isinstance(turn, Mapping) and "role" not in turn and isinstance(turn.get("content"), str)
    return (("content",), turn["content"]) if is_bare else None


def choice_of(pointer: str) -> int:
    """Which choice the string at this JSON pointer is, from 0; -1 where it is none."""
    parts = parts_of(pointer) or [""]
    if item_of(pointer) and parts[0] not in _HEADS:
        parts = parts[1:]
    if parts and parts[0] in _MMLU[1:-1]:
        return _MMLU.index(parts[0]) - 1
    return _choices.number_of(parts) if parts else -1


def item_of(pointer: str) -> str:
    """The name of the item that the string at this JSON pointer is of, where a record holds several; else empty."""
    parts = parts_of(pointer) or [""]
    if parts[0] == "paragraphs" and len(parts) > 2:
        return "/".join([*parts[1:2], parts[3] if parts[2] == "qas" and len(parts) > 3 else "0"])
    return parts[0] if parts[0] not in _HEADS and (len(parts) > 1 or _TASK.match(parts[0])) else ""


def _is_compared(record: Mapping[Any, Any]) -> bool:
    return isinstance(record.get("test"), str) and isinstance(record.get("train"), list) and "results" in record


def _is_by_name(record: Mapping[Any, Any]) -> bool:
    return len(record) > 1 and all(
        isinstance(key, str) and _TASK.match(key) and isinstance(value, str) for key, value in record.items()
    )


def _is_of_paragraphs(record: Mapping[Any, Any]) -> bool:
    paragraphs = record.get("paragraphs")
    return (
        isinstance(paragraphs, list)
        and bool(paragraphs)
        and all(isinstance(part, Mapping) and isinstance(part.get("qas"), list) for part in paragraphs)
    )


def _is_by_id(record: Mapping[Any, Any]) -> bool:
    return len(record) > 1 and all(
        isinstance(key, str)
        and key not in _HEADS
        and isinstance(value, Mapping)
        and (_fits(value) or (isinstance(value.get("question"), str) and isinstance(value.get("answer"), str)))
        for key, value in record.items()
    )


def segments(record: Any, settings: Settings) -> list[Segment]:
    """Question and choices are one turn, the answer (a text, the right choice, or its letter) the next."""
    record = require_object(record)
    if tuple(record) == _MMLU:
        return [
            Segment((key,), "assistant" if key == _MMLU[-1] else "user", int(key == _MMLU[-1]), key == _MMLU[-1], text)
            for key in _MMLU
            if isinstance(text := record[key], str)
        ]
    if _is_compared(record):
        found = [Segment(("test",), "user", 0, False, record["test"])]
        return found + [Segment(path, "text", 1, False, text) for path, text in leaves(record["train"], ("train",))]
    if _is_by_name(record):
        return [Segment((key,), "user", i, False, text) for i, (key, text) in enumerate(record.items())]
    if _is_of_paragraphs(record):
        return _in_turn(_of_paragraphs(record["paragraphs"]))
    if _choices.question_of(record) is not None:
        return list(_of_one(record, ()))
    if _is_by_id(record):
        return _in_turn((value, (key,)) for key, value in record.items())
    if not isinstance(record.get("turns"), list):
        raise LayoutError("neither a question that is text nor a list of turns nor named tasks were found")
    out = []
    for key, role in (("turns", "user"), ("reference", "assistant")):
        value = record.get(key)
        for i, turn in enumerate(value if isinstance(value, list) else ()):
            if said := _text_of_turn(turn):
                path, text = said
                out.append(Segment((key, i, *path), role, 2 * i + (role == "assistant"), role == "assistant", text))
    return sorted(out, key=lambda segment: segment.turn)


def _of_paragraphs(paragraphs: list[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """Each question of SQuAD's paragraphs and where it stands; the first has the passage, which stands there once."""
    for i, part in enumerate(paragraphs):
        yield {key: part[key] for key in ("context",) if key in part}, ("paragraphs", i)
        for j, question in enumerate(part["qas"]):
            if isinstance(question, Mapping):
                yield question, ("paragraphs", i, "qas", j)


def _in_turn(records: Iterator[tuple[Mapping[str, Any], Path]]) -> list[Segment]:
    """The questions of several records, one after the other."""
    out: list[Segment] = []
    for record, path in records:
        # subtle: a passage is of the turn of the question after it
        after = out[-1].turn + (out[-1].path[-1] != "context") if out else 0
        out += [segment._replace(turn=segment.turn + after) for segment in _of_one(record, path)]
    return out


def _of_one(record: Mapping[str, Any], path: Path) -> Iterator[Segment]:
    """Passage, question and choices, and the answer; path: where the record stands."""
    for key in _choices.PASSAGES:
        if isinstance(record.get(key), str):
            yield Segment((*path, key), "user", 0, False, record[key])
    question = _choices.question_of(record)
    if question is not None:
        yield Segment((*path, *question), "user", 0, False, _choices.at(record, question))
    choices = _choices.choices_of(record)
    right = _choices.right_of(record, choices)
    for i, choice in enumerate(choices):
        if i != right:
            yield Segment((*path, *choice.path), "user", 0, False, choice.text)
    answer = [(choice.path, choice.text) for choice in choices[right : right + 1]] if right >= 0 else []
    answer = answer or [((key,), record[key]) for key in _choices.ANSWERS if isinstance(record.get(key), str)]
    for key in ("answer", "answers", "answers_spans"):
        answer = answer or sorted(
            leaves(record.get(key), (key,), frozenset({"answer_start", "types"})),
            key=lambda leaf: leaf[0][-1] != "value",
        )
    for place, text in answer[:1]:
        yield Segment((*path, *place), "assistant", 1, True, text)
