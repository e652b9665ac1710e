"""The data set as one array of token hashes, with the answers the model learns as spans in it.

By default tokens are the kernels' own (see scanner.text); with a tokenizer.json they are the model's, and every count,
dose and prediction is in its unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scanner import running
from scanner.errors import SettingsError
from scanner.kernels.passages import locate
from scanner.kernels.tokens import token_widths, tokenise
from scanner.objects import Int64, SegmentBatch, UInt8, UInt64
from scanner.ranges import place_within
from scanner.text import OWN_UNIT, code_point_classes, folded_code_points

BYTE_LEVEL_SPACES = frozenset("\u0120\u010a\u0109\u010d")
"""How byte-level tokenizers write the bytes of a space, a new line, a tab and a carriage return."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class TokenisedRows:
    """All rows' tokens after another; an answer is a supervised turn, cut where the trainer cuts the row."""

    tokens: UInt64  # (t,) exact hash of each token
    widths: UInt8  # (t,) UTF-8 bytes of each, 255 for longer ones
    offsets: Int64  # (n + 1,) rows
    answer_row: Int64  # (m,) position of the row, ascending
    answer_start: Int64  # (m,) first token of the answer
    answer_end: Int64  # (m,)
    rows_cut: int  # rows longer than --max-length
    unit: str


def tokens_of_rows(
    batches: Iterable[SegmentBatch],
    *,
    tokenizer: Path | None,
    max_length: int | None,
    threads: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> TokenisedRows:
    """Tokenise every row.

    Segments of a row follow one another; supervised segments of one turn make one answer. What lies beyond
    `max_length` tokens of a row is not learned and lies in no answer.
    """
    split = _own_tokens if tokenizer is None else _with_tokenizer(tokenizer)
    hashes: list[UInt64] = []
    widths: list[UInt8] = []
    lengths: list[Int64] = []
    answers: list[tuple[Int64, Int64, Int64]] = []
    rows_cut = rows = total = 0

    held = [batch for batch in batches if len(batch)]
    for batch, (found, wide, counts) in zip(held, running.in_order(split, held, threads), strict=True):
        starts = batch.row_starts()
        bounds = np.concatenate(([0], np.cumsum(counts)))
        row_tokens = bounds[starts[1:]] - bounds[starts[:-1]]
        place = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        row_end = bounds[starts[:-1]] + (row_tokens if max_length is None else np.minimum(row_tokens, max_length))
        learned = np.flatnonzero(batch.supervised & (counts > 0))
        new = np.ones(len(learned), np.bool_)
        # a turn of several supervised segments that follow one another is one answer
        new[1:] = (
            (bounds[learned[1:]] > bounds[learned[:-1] + 1])  # tokens that are not learned stand between them
            | (np.diff(place[learned]) > 0)
            | (np.diff(batch.turn[learned]) > 0)
        )
        first = learned[new]
        last = learned[np.append(new[1:], True)] if len(learned) else learned
        begin = bounds[first]
        end = np.minimum(bounds[last + 1], row_end[place[first]])
        kept = end > begin
        answers.append((place[first][kept] + rows, begin[kept] + total, end[kept] + total))
        rows_cut += int((row_tokens > row_end - bounds[starts[:-1]]).sum())
        hashes.append(found)
        widths.append(wide)
        lengths.append(row_tokens)
        rows += len(row_tokens)
        total += len(found)
        advance(len(row_tokens))
    row, begin, end = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in zip(*answers, strict=True))
    return TokenisedRows(
        tokens=np.concatenate([np.zeros(0, np.uint64), *hashes]),
        widths=np.concatenate([np.zeros(0, np.uint8), *widths]),
        offsets=np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum(),
        answer_row=row,
        answer_start=begin,
        answer_end=end,
        rows_cut=rows_cut,
        unit=OWN_UNIT if tokenizer is None else f"token of {tokenizer.name}",
    )


def token_places(batch: SegmentBatch, tokenizer: Path | None) -> tuple[Int64, Int64, Int64]:
    """Where the tokens of `tokens_of_rows` stand: counts (s,) per segment; start, end (t,) in code points of its text.

    Tokens of a byte-level tokenizer that share a character share its place.
    """
    if tokenizer is not None:
        found = [e.offsets for e in _tokenizer(tokenizer).encode_batch(_texts(batch), add_special_tokens=False)]
        counts = np.array([len(f) for f in found], np.int64)
        edges = np.array([edge for f in found for edge in f], np.int64).reshape(-1, 2)
        return counts, edges[:, 0].copy(), edges[:, 1].copy()
    _, _, counts = _own_tokens(batch)
    segment = np.repeat(np.arange(len(batch)), counts).astype(np.int64)
    within = place_within(counts)
    start, end = np.empty(len(segment), np.int64), np.empty(len(segment), np.int64)
    locate(
        batch.data, batch.offsets[:-1].copy(), batch.offsets[1:].copy(), segment, within, within,
        code_point_classes(), folded_code_points(), start, end,
    )  # fmt: skip
    return counts, start, end


def _own_tokens(batch: SegmentBatch) -> tuple[UInt64, UInt8, Int64]:
    room = int(batch.offsets[-1] - batch.offsets[0])
    hashes, starts = np.empty(room, np.uint64), np.empty(room, np.int64)
    counts = np.empty(len(batch), np.int64)
    found = tokenise(batch.data, batch.offsets, code_point_classes(), folded_code_points(), 0, hashes, starts, counts)
    widths = np.empty(found, np.uint8)
    token_widths(batch.data, batch.offsets, code_point_classes(), folded_code_points(), widths)
    return hashes[:found].copy(), widths, counts


def _texts(batch: SegmentBatch) -> list[str]:
    return [
        batch.data[a:b].tobytes().decode("utf-8")
        for a, b in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True)
    ]


def _tokenizer(path: Path) -> Any:
    """A tokenizer.json (a file, or a folder that holds one)."""
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise SettingsError(
            f"--tokenizer {path}: not readable as a tokenizer.json ({error}); give the file or folder of a model's "
            "fast tokenizer"
        ) from error


def _bytes_of(token: str, decoder: str) -> int:
    """UTF-8 bytes of the text that a token stands for, without white space, as of our own tokens; at least 1.

    A vocabulary writes them otherwise: byte-level tokenizers a letter for each byte, others a mark for the space.
    """
    if "ByteLevel" in decoder:
        return max(1, sum(letter not in BYTE_LEVEL_SPACES for letter in token))
    if "ByteFallback" in decoder and _BYTE.fullmatch(token):
        return 1
    text = token.removeprefix("##") if "WordPiece" in decoder else token.replace("\u2581", "")
    return max(1, len("".join(text.split()).encode()))


def _with_tokenizer(path: Path) -> Callable[[SegmentBatch], tuple[UInt64, UInt8, Int64]]:
    """The model's own token ids, each hashed to 64 bits."""
    tokenizer = _tokenizer(path)
    written = repr(tokenizer.decoder)

    def split(batch: SegmentBatch) -> tuple[UInt64, UInt8, Int64]:
        found = tokenizer.encode_batch_fast(_texts(batch), add_special_tokens=False)
        ids = [e.ids for e in found]
        bytes_of = {i: _bytes_of(tokenizer.id_to_token(i) or "", written) for i in {i for part in ids for i in part}}
        widths = np.fromiter((min(255, bytes_of[i]) for part in ids for i in part), np.uint8)
        counts = np.array([len(i) for i in ids], np.int64)
        flat = np.fromiter((i for part in ids for i in part), np.uint64, int(counts.sum()))
        # spread small ids over 64 bits; an odd multiplier keeps them distinct
        return (flat + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15), widths, counts

    return split
