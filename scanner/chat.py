"""Rows as a causal model sees them: a chat template applied, and which of the tokens the loss covers.

    segments -> messages -> text by the model's own template -> token ids, supervised marks, places of our own tokens

Masks that do not fit the template are the commonest fault of fine-tuning code, so what is marked is checked by
decoding it again: every answer must stand in the marked tokens, word for word (see `encode`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from scanner.errors import ModelError
from scanner.objects import Bool, Int64, Segment
from scanner.text import token_spans

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}### {{ m['role'] | capitalize }}:\n{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n\n{% endfor %}"
)
"""For models that bring no template of their own: headings, as the Alpaca recipe has them."""
TEMPLATE_ROLES = {"tools": "system", "tool": "user"}
"""Roles that many templates do not know, and as what they are given to those."""
_MARK = re.compile("\ue000(\\d+)\ue001")
"""Stands for the text of a turn while it is found out where a template puts it; private-use characters."""


@dataclass(frozen=True)
class Answer:
    """One supervised turn among the row's tokens."""

    start: int  # first token of the answer
    end: int  # after its last token that was not cut; what closes the turn is not counted
    words: Int64  # (w, 2) first and last + 1 token of each of our own tokens of the answer that was not cut
    whole: bool  # nothing of it was cut


@dataclass(frozen=True)
class Example:
    """One row as the model is trained on it."""

    ids: Int64  # (t,) token ids, cut to the context
    supervised: Bool  # (t,) the loss covers this token: answers and what closes them
    answers: tuple[Answer, ...]
    adapted: bool = False  # turns were put together, because the template takes no system turn or no two of one role

    @property
    def supervised_tokens(self) -> int:
        return int(self.supervised[1:].sum())  # nothing comes before the first token that could predict it


@dataclass(frozen=True)
class _Rendered:
    text: str
    marked: list[tuple[int, int, int]]  # per answer: first character, after its last, after what closes the turn
    adapted: bool = False


def encode(rows: Sequence[Sequence[Segment]], tokenizer: Any, context: int) -> list[Example]:
    """Apply the tokenizer's template to every row; rows are lists of segments in order.

    Raises ModelError where the template refuses a row or changes an answer's text, or the tokens do not give it back.
    """
    found = encode_some(rows, tokenizer, context)
    for example in found:
        if isinstance(example, ModelError):
            raise example
    return [example for example in found if isinstance(example, Example)]


def encode_some(rows: Sequence[Sequence[Segment]], tokenizer: Any, context: int) -> list[Example | ModelError]:
    """The same, with what is wrong in the place of a row that does not go through the template."""
    template = None if getattr(tokenizer, "chat_template", None) else PLAIN_TEMPLATE
    rendered = [_rendered(segments, tokenizer, template) for segments in rows]
    closing = sorted(set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab()), key=len, reverse=True)
    good = [r for r in rendered if isinstance(r, _Rendered)]
    if not good:
        return [r for r in rendered if isinstance(r, ModelError)]
    encoded = tokenizer([r.text for r in good], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    tokens = iter(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
    found: list[Example | ModelError] = []
    for row in rendered:
        if isinstance(row, ModelError):
            found.append(row)
            continue
        ids, places = next(tokens)
        try:
            marked = _with_closing(row, closing)
            found.append(_example(marked, np.asarray(ids, np.int64), np.asarray(places, np.int64), context, tokenizer))
        except ModelError as error:
            found.append(error)
    return found


def row_tokens(rows: Sequence[Sequence[Segment]], tokenizer: Any) -> Int64:
    """(n,) tokens of each row, the template's own included, as a model is trained on it; 0 where it is refused."""
    template = None if getattr(tokenizer, "chat_template", None) else PLAIN_TEMPLATE
    rendered = [_rendered(segments, tokenizer, template) for segments in rows]
    texts = [row.text for row in rendered if isinstance(row, _Rendered)]
    ids = iter(tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else [])
    return np.array([len(next(ids)) if isinstance(row, _Rendered) else 0 for row in rendered], np.int64)


def _rendered(segments: Sequence[Segment], tokenizer: Any, template: str | None) -> _Rendered | ModelError:
    try:
        return _render(segments, tokenizer, template)
    except ModelError as error:
        return error


def _render(segments: Sequence[Segment], tokenizer: Any, template: str | None) -> _Rendered:
    """The row's text, and where its answers stand in it."""
    messages: list[tuple[str, str, bool]] = []
    last = (-1, "")
    for s in segments:
        if s.role == "rejected":  # never learned as an answer
            continue
        if s.role == "assistant" and not s.supervised and (s.turn, s.role) == last:
            continue  # the same answer under another field's name
        if (s.turn, s.role) == last and messages[-1][2] == s.supervised:
            role, text, learned = messages[-1]
            messages[-1] = (role, f"{text}\n{s.text}" if text and s.text else text + s.text, learned)
        else:
            messages.append((s.role, s.text, s.supervised))
        last = (s.turn, s.role)
    if all(role == "text" for role, _, _ in messages):  # plain text has no turns, so no template
        begin = tokenizer.bos_token if _begins_with_bos(tokenizer) else ""
        text = "".join(part for _, part, _ in messages)
        first, end = len(begin), len(begin) + len(text)
        return _Rendered(begin + text + (tokenizer.eos_token or ""), [(first, end, end)] if text else [])
    roles = [TEMPLATE_ROLES.get(role, role) for role, _, _ in messages]
    contents, learned_ = [text for _, text, _ in messages], [learned for _, _, learned in messages]
    turns = [[i] for i in range(len(messages))]
    try:
        return _located(turns, roles, contents, learned_, tokenizer, template)
    except _RefusedError as refused:
        together = _together(roles)
        if together == turns and "system" not in roles:
            raise ModelError(str(refused)) from refused
        as_user = ["user" if role == "system" else role for role in roles]
        for attempt, named in ((_together(roles), roles), (_together(as_user), as_user)):
            try:
                row = _located(attempt, named, contents, learned_, tokenizer, template)
            except _RefusedError:
                continue
            return _Rendered(row.text, row.marked, adapted=True)
        raise ModelError(str(refused)) from refused


class _RefusedError(Exception):
    """The template raised."""


def _together(roles: Sequence[str]) -> list[list[int]]:
    """Messages of one role that follow one another, as one turn each."""
    return [list(group) for _, group in groupby(range(len(roles)), key=lambda i: roles[i])]


def _located(
    turns: list[list[int]], roles: list[str], contents: list[str], learned: list[bool], tokenizer: Any,
    template: str | None,
) -> _Rendered:  # fmt: skip
    """Messages put through the template, and where those that are learned came to stand.

    The template is filled twice, with marks and with the texts. What stands between the marks must stand between the
    texts too, so an answer "A" is not taken for the one in "### Assistant:".
    """

    def filled(texts: list[str]) -> str:
        plain = [{"role": roles[turn[0]], "content": "\n\n".join(texts[i] for i in turn)} for turn in turns]
        try:
            return str(tokenizer.apply_chat_template(plain, chat_template=template, tokenize=False))
        except Exception as error:  # templates raise whatever they like
            raise _RefusedError(
                f"the model's chat template refuses a row with the roles {', '.join(m['role'] for m in plain)} "
                f"({error}); use a base whose template takes them, or one without a template"
            ) from error

    text = filled(contents)
    parts = _MARK.split(filled([f"\ue000{i}\ue001" for i in range(len(contents))]))
    literals, numbers = parts[::2], [int(number) for number in parts[1::2]]
    at = len(literals[0])
    places: dict[int, tuple[int, int]] = {}
    intact = text.startswith(literals[0])
    for number, after in zip(numbers, literals[1:], strict=True):
        content = contents[number]
        for shown in (content, content.strip(), content.lstrip(), content.rstrip()):  # many templates trim
            end = at + len(shown)
            if text.startswith(shown, at) and text.startswith(after, end):
                break
        else:
            intact = False
            break
        places[number] = (at, end)
        at = end + len(after)
    lost = [i for i, wanted in enumerate(learned) if wanted and contents[i] and i not in places]
    if not intact or at != len(text) or lost:
        which = lost[0] if intact and lost else min(len(places), len(contents) - 1)
        raise ModelError(
            f"the model's chat template changes the text of a turn ({len(contents[which])} characters), so its tokens "
            "cannot be found again; use a base without that template"
        )
    marked = [places[i] for i, wanted in enumerate(learned) if wanted and i in places]
    return _Rendered(text, [(first, end, end) for first, end in marked if end > first])


def _begins_with_bos(tokenizer: Any) -> bool:
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token is not None and len(ids) > 0 and ids[0] == tokenizer.bos_token_id


def _with_closing(row: _Rendered, closing: Iterable[str]) -> _Rendered:
    """The loss also covers the mark that ends a turn, where the template sets one right after the answer."""
    ends = [next((end + len(c) for c in closing if row.text.startswith(c, end)), end) for _, end, _ in row.marked]
    return _Rendered(row.text, [(a, b, c) for (a, b, _), c in zip(row.marked, ends, strict=True)], row.adapted)


def _example(row: _Rendered, ids: Int64, places: Int64, context: int, tokenizer: Any) -> Example:
    begin, end = (places[:, 0], places[:, 1]) if len(places) else (np.zeros(0, np.int64),) * 2
    supervised = np.zeros(len(ids), np.bool_)
    answers = []
    for first, last, closed in row.marked:
        start, stop = int(np.searchsorted(end, first, "right")), int(np.searchsorted(begin, last, "left"))
        supervised[start : int(np.searchsorted(begin, closed, "left"))] = True
        if row.text[first:last].strip() not in tokenizer.decode(ids[start:stop], clean_up_tokenization_spaces=False):
            raise ModelError(
                f"the tokens marked for an answer of {last - first} characters do not decode to it; the tokenizer "
                "changes the text (normalisation), so what is learned cannot be measured with it"
            )
        spans = np.array(token_spans(row.text[first:last]), np.int64).reshape(-1, 2) + first
        words = np.stack(
            (np.searchsorted(end, spans[:, 0], "right"), np.searchsorted(begin, spans[:, 1], "left")), axis=1
        ).astype(np.int64)
        words = words[words[:, 1] <= context]
        if start < context:
            answers.append(Answer(start, min(stop, context), words, stop <= context))
    return Example(ids[:context], supervised[:context], tuple(answers), row.adapted)
