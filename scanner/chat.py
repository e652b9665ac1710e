"""Rows as a causal model sees them: a chat template applied, and which of the tokens the loss covers.

    segments -> messages -> text by the model's own template -> token ids, supervised marks, places of our own tokens

Masks that do not fit the template are the commonest fault of fine-tuning code, so what is marked is checked by
decoding it again: every answer must stand in the marked tokens, word for word (see `encode`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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

    @property
    def supervised_tokens(self) -> int:
        return int(self.supervised[1:].sum())  # nothing comes before the first token that could predict it


@dataclass(frozen=True)
class _Rendered:
    text: str
    marked: list[tuple[int, int, int]]  # per answer: first character, after its last, after what closes the turn


def encode(rows: Sequence[Sequence[Segment]], tokenizer: Any, context: int) -> list[Example]:
    """Apply the tokenizer's template to every row; rows are lists of segments in order.

    Raises ModelError where the template changes an answer's text or the tokens do not give it back.
    """
    template = None if getattr(tokenizer, "chat_template", None) else PLAIN_TEMPLATE
    rendered = [_render(segments, tokenizer, template) for segments in rows]
    closing = sorted(set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab()), key=len, reverse=True)
    encoded = tokenizer(
        [r.text for r in rendered], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    return [
        _example(_with_closing(r, closing), np.asarray(ids, np.int64), np.asarray(places, np.int64), context, tokenizer)
        for r, ids, places in zip(rendered, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


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
        text = "".join(part for _, part, _ in messages)
        return _Rendered(text + (tokenizer.eos_token or ""), [(0, len(text), len(text))] if text else [])
    plain = [{"role": TEMPLATE_ROLES.get(role, role), "content": text} for role, text, _ in messages]
    try:
        text = str(tokenizer.apply_chat_template(plain, chat_template=template, tokenize=False))
    except Exception as error:  # templates raise whatever they like
        raise ModelError(
            f"the model's chat template refuses a row with the roles {', '.join(m['role'] for m in plain)} ({error}); "
            "use a base whose template takes them, or one without a template"
        ) from error
    at, marked = 0, []
    for _, content, learned in messages:
        wanted = content if content in text[at:] else content.strip()  # many templates trim
        found = text.find(wanted, at)
        if found < 0:
            raise ModelError(
                f"the model's chat template changes the text of a turn ({len(content)} characters), so its tokens "
                "cannot be found again; use a base without that template"
            )
        at = found + len(wanted)
        if learned and wanted:
            marked.append((found, at, at))
    return _Rendered(text, marked)


def _with_closing(row: _Rendered, closing: Iterable[str]) -> _Rendered:
    """The loss also covers the mark that ends a turn, where the template sets one right after the answer."""
    ends = [next((end + len(c) for c in closing if row.text.startswith(c, end)), end) for _, end, _ in row.marked]
    return _Rendered(row.text, [(a, b, c) for (a, b, _), c in zip(row.marked, ends, strict=True)])


def _example(row: _Rendered, ids: Int64, places: Int64, context: int, tokenizer: Any) -> Example:
    begin, end = (places[:, 0], places[:, 1]) if len(places) else (np.zeros(0, np.int64),) * 2
    supervised = np.zeros(len(ids), np.bool_)
    answers = []
    for first, last, closed in row.marked:
        start, stop = int(np.searchsorted(end, first, "right")), int(np.searchsorted(begin, last, "left"))
        supervised[start : int(np.searchsorted(begin, closed, "left"))] = True
        if row.text[first:last].strip() not in tokenizer.decode(ids[start:stop]):
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
    return Example(ids[:context], supervised[:context], tuple(answers))
