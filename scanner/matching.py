"""Evaluation files to matches: reads them as any data set is read, and brings them together with the audited rows.

files -> RUN/private/evaluation (segments, like a run's own) -> items -> contamination -> matches.parquet
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from scanner import contamination, decontaminating, formats, ingest, layouts
from scanner.contamination.annotations import retold
from scanner.contamination.items import Items, words_of
from scanner.decontaminating import items_of
from scanner.embedding import Encoders
from scanner.errors import InputError, LayoutError
from scanner.layouts import benchmark
from scanner.objects import Int64, Rows, SegmentBatch, Skip, Source
from scanner.progress import Progress
from scanner.ranges import laid_out
from scanner.settings import Settings
from scanner.shownnames import shown
from scanner.store import RunFolder

WRITE_IT_ANEW = "write its items as JSON Lines with the keys question and answer, or leave it out"
"""What to do about a benchmark that is not understood: --layout and the names of fields are those of the data."""
NOT_UNDERSTOOD = "evaluation items not understood"
"""Why a file of --eval is left out."""


@dataclass(frozen=True)
class Matched:
    """What the comparison with evaluation files gave."""

    table: pl.DataFrame = field(default_factory=decontaminating.none)  # as in matches.parquet
    notes: dict[str, Any] = field(default_factory=dict)


def find(
    run: RunFolder, rows: Rows, evaluation: list[tuple[Source, str]], encoders: Encoders, settings: Settings,
    threads: int, progress: Progress,
) -> Matched:  # fmt: skip
    """Every match of evaluation items in the data; evaluation: the files and their SHA-256."""
    if not evaluation:
        return Matched()
    files = [source for source, _ in evaluation]
    with progress.stage("read evaluation items", len(files)):
        items, skips = read_items(run, files, settings, threads)
        progress.advance(len(files))
    with progress.stage("look for evaluation items", len(rows)):
        pairs, notes = contamination.find_words(run.segments(), rows, items, threads, progress.advance)
    if settings.semantic:
        with progress.stage("look for evaluation items in other words"):
            pairs, more = _in_other_words(run, rows, items, pairs, encoders, settings, threads)
            notes |= more
    with progress.stage("look for their answers"):
        pairs = _with_answers(run, items, pairs)
    _keep_text(run, items, np.unique(pairs.item), settings, threads)
    count = np.bincount(items.benchmark, minlength=len(items.benchmarks)).tolist()
    unsearched = contamination.not_searched(items).tolist()
    notes["benchmarks"] = [
        {"name": name, "items": n, "not_searched": short}
        for name, n, short in zip(items.benchmarks, count, unsearched, strict=True)
    ]
    notes["files"] = [{"name": source.name, "sha256": digest} for source, digest in evaluation]
    notes["records_skipped"] = len(skips)
    table = contamination.table(pairs, items, notes.get("confirmed_with"))
    table = table.with_columns(kind=pl.lit(decontaminating.KIND))
    return Matched(table, {"contamination": notes})


def _in_other_words(
    run: RunFolder, rows: Rows, items: Items, pairs: contamination.Pairs, encoders: Encoders, settings: Settings,
    threads: int,
) -> tuple[contamination.Pairs, dict[str, Any]]:  # fmt: skip
    from scanner.contamination import rereading, semantic

    encoder, confirmer = encoders.embedder(), encoders.confirmer()
    by = None if confirmer is None else rereading.Transformer(confirmer, settings.confirm_share)
    own = items_of(run).segments()
    alike = semantic.find(run.segments(), rows.row_id, own, items, encoder, threads, by)
    return contamination.together(pairs, alike), alike.notes


def _with_answers(run: RunFolder, items: Items, pairs: contamination.Pairs) -> contamination.Pairs:
    """Where the question was found, a short answer, a part of it, the bare one or its result counts, too."""
    answer = pairs.answer.copy()

    def look_for(asked: Int64, items: Items) -> None:
        found = contamination.find_answers(run.segments(), pairs.row_id[asked], pairs.item[asked], items)
        answer[asked] = np.fmax(answer[asked], found)

    asked = np.flatnonzero(~np.isnan(pairs.question))
    if not len(asked):
        return pairs
    look_for(asked, items)
    for alone in retold(items_of(run).segments(), items, np.unique(pairs.item[asked])):
        look_for(asked[alone.lengths()[2 * pairs.item[asked] + 1] > 0], alone)
    return replace(pairs, answer=answer)


def _keep_text(run: RunFolder, items: Items, matched: np.ndarray, settings: Settings, threads: int) -> None:
    """What reports need to show matched items: where their segments stand, and what of them must be masked."""
    from scanner import rulebook

    own = items_of(run)
    reader = own.segments()
    place = np.flatnonzero((items.part >= 0) & np.isin(items.of_segment, matched))
    known = reader.frame(["row_id", "segment"])[place]
    own.write_table("items", known.with_columns(item_index=items.of_segment[place], part=items.part[place]))
    wanted = known["row_id"].unique().implode()
    frames = (frame.filter(pl.col("row_id").is_in(wanted)) for frame in reader.text_frames())
    own.write_table("spans", rulebook.load(settings.rules).find(frames, threads))


def summary(run: RunFolder, notes: dict[str, Any]) -> dict[str, Any]:
    """summary.contamination of a run, from its matches; empty where it was compared with nothing."""
    known = (notes.get("contamination") or {}).get("benchmarks") or []
    return decontaminating.per_benchmark(run.read_table("matches"), known) if known else {}


def survey(settings: Settings) -> formats.Found:
    """The evaluation files that the settings name, none where they name none; InputError where nothing is found.

    Plain text counts only where there is nothing else: beside tables it explains them (lists of addresses, notes). What
    is not understood is left out, unless it was named itself or nothing else is there: LayoutError then.
    """
    if not settings.evaluation:
        return formats.Found([], ())
    reading, understood, left, refused = _for_reading(settings), [], [], []
    try:
        found = formats.survey([str(path) for path in settings.evaluation])
        for source in [s for s in found.sources if s.format != "text"] or found.sources:
            try:
                ingest.layout_of(source, reading)
                understood.append(source)
            except LayoutError as error:
                refused.append(error)
                left.append(formats.LeftOut(source.name, NOT_UNDERSTOOD))
                if source.path in settings.evaluation and not source.member:
                    raise
        if not understood:
            raise refused[0]
    except InputError as error:
        raise type(error)(f"--eval: {str(error).replace(layouts.NAME_IT, WRITE_IT_ANEW)}") from error
    sources = [replace(source, index=i) for i, source in enumerate(understood)]
    return formats.Found(sources, (*found.left_out, *left))


def read_items(run: RunFolder, files: list[Source], settings: Settings, threads: int) -> tuple[Items, list[Skip]]:
    """The items of the evaluation files; their text is kept under RUN/private/evaluation."""
    own = RunFolder.open_for_writing(items_of(run).path)
    try:
        rows, skips = ingest.read_all(files, own, _for_reading(settings), threads)
    except InputError as error:
        raise type(error)(f"--eval: {error}") from error
    return _items(own, rows, files), skips


def _for_reading(settings: Settings) -> Settings:
    """Benchmarks are read as they are found; the data's own field names say nothing about them."""
    return Settings(max_decompressed_bytes=settings.max_decompressed_bytes)


def _items(own: RunFolder, rows: Rows, files: list[Source]) -> Items:
    """First exchange of every record as question and answer, words only."""
    reader = own.segments()
    parts, hashes, first = [], [], 0
    for batch in reader:
        found, at = words_of(batch)
        hashes.append(found)
        parts.append(first + at[:-1])
        first += len(found)
    words = np.concatenate([np.zeros(0, np.uint64), *hashes])
    start = np.concatenate([np.zeros(0, np.int64), *parts])
    frame = reader.frame(["row_id", "segment", "turn", "role", "field_path"]).with_columns(
        pl.col("role").cast(pl.String),
        begin=pl.Series(start, dtype=pl.Int64),
        end=pl.Series(np.append(start[1:], first), dtype=pl.Int64),
    )
    # the files of an archive are one benchmark
    names, members = zip(*(source.names for source in files), strict=True)
    benchmarks = tuple(dict.fromkeys(names))
    about = pl.DataFrame(
        {
            "row_id": rows.row_id,
            "line": rows.line,
            "number": rows.place,
            "benchmark": np.array([benchmarks.index(name) for name in names], np.int32)[rows.source],
            "member": pl.Series(members, dtype=pl.String).gather(rows.source),
            "layout": pl.Series(rows.layout, dtype=pl.String).gather(rows.source),
        }
    )
    frame = frame.join(about, on="row_id", how="left", maintain_order="left")
    frame = frame.with_columns(name=_by_path(frame, benchmark.item_of, "").replace("", None))
    is_new = pl.col("row_id").diff().fill_null(1).ne(0) | pl.col("name").ne_missing(pl.col("name").shift())
    known = frame["name"].drop_nulls().unique().sort()
    frame = frame.with_columns(pl.col("name").replace(known, pl.Series(shown(known.to_list()), dtype=pl.String)))
    choice = _by_path(frame, benchmark.choice_of, -1)
    frame = frame.with_columns(choice=choice, item=is_new.cum_sum().cast(pl.Int64) - 1)
    texts, letter, part = _texts(frame, words)
    items = frame.unique("item", keep="first", maintain_order=True)
    label = pl.when(pl.col("member") == "").then(pl.lit("")).otherwise(pl.col("member") + ":") + pl.col("number").cast(
        pl.String
    )
    is_only = pl.col("row_id").n_unique().over("benchmark", "member") == 1
    label = pl.coalesce(pl.when(is_only).then("name"), label + "/" + pl.col("name"), label)
    counts = np.bincount(texts["text"], texts["end"] - texts["begin"], 2 * len(items)).astype(np.int64)
    return Items(
        benchmarks=benchmarks,
        benchmark=items["benchmark"].to_numpy().astype(np.int32),
        item=tuple(items.select(label)["name"]),
        line=items["line"].to_numpy(),
        row_id=items["row_id"].to_numpy(),
        words=words[laid_out(texts["begin"].to_numpy(), texts["end"].to_numpy())],
        text_at=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        letter=letter,
        of_segment=frame["item"].to_numpy(),
        part=part,
    )


def _by_path(frame: pl.DataFrame, what: Callable[[str], Any], otherwise: Any) -> pl.Series:
    """What the layout says of each segment by its path: of which choice it is, or of which item of its record."""
    is_benchmark = pl.col("layout") == benchmark.NAME
    paths = frame.filter(is_benchmark)["field_path"].unique().to_list()
    known = {path: what(path) for path in paths}
    found = pl.col("field_path").replace_strict(known, default=otherwise, return_dtype=pl.Series([otherwise]).dtype)
    return frame.select(pl.when(is_benchmark).then(found).otherwise(pl.lit(otherwise)).alias("found"))["found"]


def _texts(frame: pl.DataFrame, words: np.ndarray) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Segments of each item's first question and first answer, (text, begin, end) sorted.

    Also (i,) hashes of the right choices' letters, 0 for none, and (s,) the part each segment has in its item. Of
    multiple choice the answer is the right choice's text, which the layout or its letter tells; the other choices are
    not looked for.
    """
    frame = frame.with_row_index("place")
    first = pl.col("turn") == pl.col("turn").min().over("item", "side")
    side = pl.when(pl.col("role").is_in(["user", "text"]) & (pl.col("choice") < 0)).then(0)
    frame = frame.with_columns(side=side.when(pl.col("role") == "assistant").then(1))
    spoken = frame.filter(pl.col("side").is_not_null()).filter(first)
    letter = np.zeros(int(frame["item"].max() or 0) + 1, np.uint64)  # type: ignore[arg-type]
    chosen = frame.filter(pl.col("choice") >= 0)
    if len(chosen):
        known = _letters()
        told = spoken.filter((pl.col("side") == 1) & pl.col("choice").is_between(0, len(known) - 1))
        letter[told["item"].to_numpy()] = np.array(list(known), np.uint64)[told["choice"].to_numpy()]
        is_word = (pl.col("side") == 1) & (pl.col("choice") < 0) & (pl.col("end") - pl.col("begin") == 1)
        one = spoken.filter(is_word).select("item", "begin")
        one = one.join(chosen.select("item").unique(), on="item", how="semi", maintain_order="left")
        hashes = words[one["begin"].to_numpy()]
        right = [known.get(value, -1) for value in hashes.tolist()]
        picked = one.select("item").with_columns(choice=pl.Series(right, dtype=pl.Int64)).filter(pl.col("choice") >= 0)
        letter[one["item"].to_numpy()[np.array(right) >= 0]] = hashes[np.array(right) >= 0]
        answers = chosen.join(picked, on=["item", "choice"], how="semi", maintain_order="left")
        spoken = spoken.join(
            picked.with_columns(side=pl.lit(1)), on=["item", "side"], how="anti", maintain_order="left"
        )
        spoken = pl.concat([spoken, answers.with_columns(side=pl.lit(1, spoken["side"].dtype))])
    part = np.full(len(frame), -1, np.int8)
    part[spoken["place"].to_numpy()] = spoken["side"].to_numpy()
    texts = spoken.select("segment", "begin", "end", text=2 * pl.col("item") + pl.col("side"))
    return texts.sort("text", "segment"), letter, part


def _letters() -> dict[int, int]:
    """Word hash of each letter that names a choice, and which choice it names."""
    text = np.frombuffer(b"ABCDEFGHIJ", np.uint8)
    n = len(text)
    zeros = np.zeros(n, np.int64)
    batch = SegmentBatch(
        zeros, zeros.astype(np.int32), zeros.astype(np.int32), zeros.astype(np.uint8), zeros.astype(np.bool_),
        np.arange(n + 1, dtype=np.int64), text,
    )  # fmt: skip
    return {value: place for place, value in enumerate(words_of(batch)[0].tolist())}
