"""Pairs: a prompt and its response under any of the usual names, or under those the user names.

The prompt may be a list of messages (as verl and TRL write it), and so may the response; the answer of a verl row
stands in reward_model.ground_truth or reward_func_args.ground_truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.jsonediting import get_at
from scanner.jsontext import type_name
from scanner.layouts._fields import CONTEXTS, PROMPTS, RESPONSES, Path, plain_names, require_object, systems
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._turns import dialogue, is_dialogue
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "pair"
DESCRIPTION = "a prompt and its response (prompt/response, question/answer, problem/solution, ... or fields you name)"
FLAT = True
EXAMPLES: tuple[Any, ...] = (
    {"prompt": "What is 1 + 2?", "response": "3"},
    {"question": "What is 1 + 2?", "answer": "3"},
    {"prompt": [{"role": "user", "content": "1 + 2?"}], "reward_model": {"ground_truth": "3", "style": "rule"}},
    {"prompt": [{"role": "user", "content": "1 + 2?"}], "completion": [{"role": "assistant", "content": "3"}]},
)

_GROUND_TRUTHS: tuple[Path, ...] = (
    ("reward_model", "ground_truth"), ("reward_func_args", "ground_truth"), ("extra_info", "answer"),
)  # fmt: skip


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    if not isinstance(record, Mapping):
        return 0.0
    prompt = _prompt(record, PROMPTS)
    if prompt is None or not (isinstance(record[prompt], str) or is_dialogue(record[prompt])):
        return 0.0
    answer = _answer_path(record, prompt)
    if answer is None:
        return 0.3 if is_dialogue(record[prompt]) else 0.0
    return 0.85 if prompt != "text" else 0.75


def segments(record: Any, settings: Settings) -> list[Segment]:
    """The prompt (with system prompt and context) and the response, which is supervised."""
    record = require_object(record)
    prompt_path: Path | None
    if settings.prompt_field:
        prompt_path = _named(record, settings.prompt_field, "--prompt-field")
    else:
        named = (settings.response_field or "",)
        prompt = _prompt(record, tuple(name for name in PROMPTS if name not in named))
        prompt_path = (prompt,) if prompt else None
    if settings.response_field:
        answer_path: Path | None = _named(record, settings.response_field, "--response-field")
    else:
        answer_path = _answer_path(record, str(prompt_path[0]) if prompt_path else "")
    if prompt_path is None and not settings.response_field:
        raise LayoutError(
            f"none of the prompt fields was found; expected one of {', '.join(PROMPTS)}; name yours with --prompt-field"
        )
    out = [s for s in systems(record) if s.path not in (prompt_path, answer_path)]
    turn = int(bool(out))
    if prompt_path is not None:
        out += _side(record, prompt_path, "user", turn)
    for key in CONTEXTS:
        if isinstance(record.get(key), str) and (key,) not in (prompt_path, answer_path):
            out.append(Segment((key,), "user", turn, False, record[key]))
    turn = max((s.turn for s in out), default=turn - 1) + 1
    if answer_path is not None:
        out += _side(record, answer_path, "assistant", turn)
    return out


def _side(record: Mapping[str, Any], path: Path, role: str, turn: int) -> list[Segment]:
    """One side of the pair: a text, a list of messages, or nothing."""
    value = get_at(record, path)
    if value is None:
        return []
    if isinstance(value, str):
        return [Segment(path, role, turn, role == "assistant", value)]
    if is_dialogue(value):
        return dialogue(value, path, turn)
    raise LayoutError(f"{'.'.join(map(str, path))} is {type_name(value)}, expected text or a list of messages")


def _prompt(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The field that asks; an input beside an instruction is what the instruction is about (see CONTEXTS)."""
    name = _first(record, names)
    asked = name == "input" and "instruction" in names and isinstance(record.get("instruction"), str)
    return "instruction" if asked else name


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if record.get(name) is not None), None) or next(
        (name for name in names if name in record), None
    )


def _answer_path(record: Mapping[str, Any], prompt: str) -> Path | None:
    answer = _first(record, tuple(name for name in RESPONSES if name != prompt))
    if answer is not None:
        return (answer,)
    for path in _GROUND_TRUTHS:
        value: Any = record
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return path
    return None


def _named(record: Mapping[str, Any], name: str, option: str) -> Path:
    """The path of a field the user named: a key, or keys and numbers of entries, from 0, joined by dots."""
    if name in record:
        return (name,)
    path: list[str | int] = []
    value: Any = record
    for part in name.split("."):
        step = int(part) if isinstance(value, list | tuple) and part.isdecimal() else part
        there = value if isinstance(value, Mapping) else range(len(value)) if isinstance(step, int) else ()
        if step not in there:
            raise LayoutError(
                f"the field that {option} names is not in the record; expected it in every record; {_instead(value)}"
            )
        path.append(step)
        value = value[step]
    return tuple(path)


def _instead(value: Any) -> str:
    """What stands where a named field does not."""
    if isinstance(value, Mapping):
        return f"the fields there are {', '.join(plain_names(value)) or 'none'}"
    if isinstance(value, list | tuple):
        return f"there is a list of {len(value):,}, whose entries are named by their numbers, from 0"
    return f"there is {type_name(value)}"
