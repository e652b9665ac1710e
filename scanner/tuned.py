"""`scan confirm`: one pass of a tuned model over chosen rows of the run, and what every metric makes of it.

RUN/confirmation/<name>.parquet            row_id, stratum, weight, a column per metric (scanner/confirmation/),
                                           predicted (p_extract at that time), reason where a row was not measured
RUN/confirmation/<name>.controls.parquet   the same of the held-out rows of --controls, by their place in that file
RUN/confirmation/<name>.json               models, plan, rates, prediction beside measurement; written last
RUN/private/confirmation/<name>/           parts of an interrupted pass, the controls' text, what calibrating takes:
                                           N_pre per answer with the base's losses, lengths of all rows in its tokens

Rows go through the model in blocks of fixed content, so an interrupted pass ends as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import baseloss, chat, confirmation, formats, ingest, inputs, memory, models, running, strata, training
from scanner.chat import Example
from scanner.confirmation import Row, Said, Sampler
from scanner.errors import InputError, ModelError, RunError, SettingsError
from scanner.models import LanguageModel
from scanner.objects import Int64, Segment, Source
from scanner.outcome import CONTROL, Outcome, figures
from scanner.progress import Progress
from scanner.rehearsed import segments_of
from scanner.settings import Settings, TrainingPlan, option_name
from scanner.store import TEMPORARY, RunFolder, atomic, write_bytes
from scanner.strata import Chosen
from scanner.untuned import fingerprint, mark
from scanner.untuned import texts as texts_of

FOLDER = "confirmation"
ROWS, BLOCK = 1000, 256
ANSWERS: dict[str, Any] = {
    "row_id": pl.Int64,
    "answer": pl.Int32,
    "tokens": pl.Int32,
    "n_pre": pl.Int32,
    "losses": pl.Binary,
}
OF_BASE: dict[str, Any] = {"row_id": pl.Int64, "answer": pl.Int32, "n_pre": pl.Int32, "own_nats": pl.List(pl.Float64)}
LENGTHS: dict[str, Any] = {"row_id": pl.Int64, "tokens": pl.Int32, "answers": pl.List(pl.Int32)}
REFUSED = "the model's chat template refuses the row, or changes its text"


@dataclass(frozen=True)
class Options:
    """What a confirmation is asked to be."""

    model: Path
    base: Path | None = None  # None: the one of the audit, or that an adapter names
    controls: Path | None = None
    rows: int = ROWS  # looked at, at most; of the controls as many
    all_rows: bool = False
    top_k: int = Sampler.top_k
    temperature: float = Sampler.temperature
    seed: int = 0
    name: str | None = None

    def __post_init__(self) -> None:
        if self.rows < 2:
            raise SettingsError(f"--rows is {self.rows}; it must be at least 2")
        if self.top_k < 0:
            raise SettingsError(f"--top-k is {self.top_k}; it must be at least 1, or 0 for all tokens")
        if not 0 < self.temperature < float("inf"):
            raise SettingsError(f"--temperature is {self.temperature:g}; it must be above 0 (greedy is N_pre)")
        if self.name is not None and (not self.name or Path(self.name).name != self.name or self.name.startswith(".")):
            raise SettingsError(f"--name is {self.name!r}; it names a file in the run folder, so leave out slashes")

    @property
    def called(self) -> str:
        """Name of the confirmation."""
        return self.name or self.model.resolve().name

    def command(self, run: RunFolder) -> str:
        """The command line that asks for it."""
        parts = ["scan", "confirm", str(run.path), "--model", str(self.model)]
        for name in ("base", "controls", "rows", "top_k", "temperature", "seed", "name"):
            if (value := getattr(self, name)) != getattr(Options, name):
                parts += [option_name(name), str(value)]
        return shlex.join([*parts, *(["--all"] if self.all_rows else [])])


@dataclass(frozen=True)
class Texts:
    """Rows that are measured, in content order."""

    name: str  # of their parts
    run: RunFolder  # that holds their text
    row_id: Int64
    left_out: int = 0  # controls that are rows of the run

    def blocks(self) -> Iterator[tuple[str, Int64]]:
        """(number, row ids) of those that go through a model together."""
        for number, begin in enumerate(range(0, len(self.row_id), BLOCK)):
            yield f"{number:05}", self.row_id[begin : begin + BLOCK]


def confirm(run: RunFolder, options: Options, progress: Progress) -> Outcome:
    """The whole road; a finished confirmation of the same name is returned as it is, an interrupted one goes on."""
    settings = Settings.from_dict((scan := run.read_json("scan.json"))["settings"])
    run.segments()  # says so where it was purged
    base, plan = _checked(options, settings, progress)
    run.claim()
    chosen, predicted, rank = _choose(run, settings, options)
    files, digests = _controls(options, settings)
    row_id = run.read_table("rows", ["row_id"])["row_id"].to_numpy()[chosen.place]
    asked = {
        "identity": scan["identity"], "plan": asdict(plan), "model": mark(options.model),
        "base": fingerprint(base) if base else "", "controls": digests, "seed": options.seed,
        "rows": hashlib.sha256(row_id.tobytes() + predicted[chosen.place].tobytes()).hexdigest()[:16],
        "sampler": [options.top_k, options.temperature],
    }  # fmt: skip
    asked = json.loads(json.dumps(asked))
    name = options.called
    if (run.path / FOLDER / f"{name}.json").exists():
        known = run.read_json(f"{FOLDER}/{name}.json")
        if known["asked"] != asked:
            raise RunError(f"{run.path / FOLDER} holds another confirmation called {name}; choose another --name")
        progress.say(f"{run.path / FOLDER / name}.parquet holds this confirmation already")
        return Outcome(run, name, known)
    private = _begun(run, name, asked)
    members = Texts("rows", run, row_id[np.argsort(rank[chosen.place])])
    try:
        with memory.kept():
            work = _Work(private, members, _read_controls(run, private, files, settings, options), options, settings)
            facts = {"asked": asked, "plan": asdict(plan), **work.measured(base, progress)}
            told = _written(run, name, work, chosen, predicted[chosen.place], facts)
    except KeyboardInterrupt:
        progress.say(f"interrupted; what is done is kept in {private}. To go on: {options.command(run)}")
        raise
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise ModelError(
            f"--model {options.model}: out of memory while it was measured; audit with a smaller --max-length, or use "
            "a machine with more memory"
        ) from error
    return Outcome(run, name, told)


def _checked(options: Options, settings: Settings, progress: Progress) -> tuple[Path | None, TrainingPlan]:
    """The folder of the base, None where none is known, and the plan; ModelError where a folder does not suit."""
    plan, base = settings.plan, options.base
    if models.is_adapter(options.model):
        base, rank = models.adapted_base(options.model, base)
        if (plan.method, plan.lora_rank) != ("lora", rank):
            was = f"LoRA of rank {plan.lora_rank}" if plan.method == "lora" else "full fine-tuning"
            raise ModelError(
                f"--model {options.model}: a LoRA adapter of rank {rank}, and the run was predicted for {was}; predict "
                f"it for that training first: scan plan RUN --method lora --lora-rank {rank}"
            )
    else:
        models.check_folder(options.model, "--model")
        if base is None and settings.base is not None and settings.base.is_dir():
            base = settings.base
            progress.say(f"--base is not given: that of the audit is taken ({base})")
    if base is not None:
        count = models.parameters_of(base)
        memory.check_measuring(base.resolve().name, count)
        plan = replace(plan, model_params=float(count))
    if not models.is_adapter(options.model):
        count = models.parameters_of(options.model, "--model")
        memory.check_measuring(options.model.resolve().name, count, "--model", "")
        plan = plan if base is not None else replace(plan, model_params=float(count))
    if base is not None and mark(base) == mark(options.model):
        progress.say("--model and --base hold the same files: nothing lies between them")
    return base, plan


def _choose(run: RunFolder, settings: Settings, options: Options) -> tuple[Chosen, np.ndarray, Int64]:
    """Rows to look at, (n,) p_extract, (n,) content rank."""
    predicted = run.read_table("prediction", ["p_extract"])["p_extract"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    rank = np.asarray(run.read_array("content_rank"))
    chosen = strata.choose(predicted, rank, None if options.all_rows else options.rows, options.seed)
    if not len(chosen.place):
        raise RunError(
            f"{run.path}: no row has a predicted p_extract (an answer of 16 tokens or more), so there is nothing to "
            "confirm; --all measures every row all the same"
        )
    return chosen, predicted, rank


def _controls(options: Options, settings: Settings) -> tuple[list[Source], list[str]]:
    """The files of --controls and their SHA-256."""
    if options.controls is None:
        return [], []
    try:
        files = formats.discover([str(options.controls)])
    except InputError as error:
        raise type(error)(f"--controls: {error}") from error
    return files, inputs.sha256_of(files, running.thread_count(settings.threads), lambda done: None)


def _begun(run: RunFolder, name: str, asked: dict[str, Any]) -> Path:
    """The private folder; parts of an interrupted pass that was asked for otherwise are deleted."""
    private, note = run.private / FOLDER / name, run.private / FOLDER / name / "asked.json"
    if not note.exists() or json.loads(note.read_text("utf-8")) != asked:
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir(parents=True)
        write_bytes(note, json.dumps(asked).encode())
    (run.path / FOLDER).mkdir(exist_ok=True)
    for leftover in [*private.rglob(f"{TEMPORARY}*"), *(run.path / FOLDER).glob(f"{TEMPORARY}*")]:
        leftover.unlink(missing_ok=True)
    return private


def _read_controls(
    run: RunFolder, private: Path, files: list[Source], settings: Settings, options: Options
) -> Texts | None:
    """Held-out rows, read as the data was, without those that the run holds; as many as are looked at of the data."""
    if not files:
        return None
    own = RunFolder.open_for_writing(private / "controls")
    reading = ("layout", "prompt_field", "response_field", "supervise", "max_decompressed_bytes")
    try:
        rows, _ = ingest.read_all(files, own, Settings(**{k: getattr(settings, k) for k in reading}), 1)
    except InputError as error:
        raise type(error)(f"--controls: {error}") from error
    known = {_said(row) for row in texts_of(run, run.read_table("rows", ["row_id"])["row_id"].to_numpy())}
    ids = rows.row_id[rows.content_order]
    fresh = np.array([_said(row) not in known for row in texts_of(own, ids)], np.bool_)
    ids = ids[fresh]
    if not options.all_rows and len(ids) > options.rows:
        ids = ids[np.sort(np.random.default_rng(options.seed).permutation(len(ids))[: options.rows])]
    return Texts("controls", own, ids, int((~fresh).sum()))


def _said(segments: Sequence[Segment]) -> bytes:
    """Equal for rows in which the same is said by the same roles."""
    every = json.dumps([(s.role, s.supervised, s.text) for s in segments])
    return hashlib.blake2b(every.encode(), digest_size=16).digest()


def _written(
    run: RunFolder, name: str, work: _Work, chosen: Chosen, predicted: np.ndarray, facts: dict[str, Any]
) -> dict[str, Any]:
    """Put the parts together and write what is to stay, the facts last; returns them."""
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()[chosen.place]
    is_comparable = work.settings.tokenizer is None
    drawn = pl.DataFrame(
        {"row_id": ids, "stratum": chosen.stratum, "weight": chosen.weight,
         "predicted": np.where(is_comparable, predicted, np.nan)}
    ).with_columns(pl.col("predicted").fill_nan(None))  # fmt: skip
    table = drawn.join(work.parts(work.members), on="row_id", how="left", maintain_order="left")
    table = table.select("row_id", "stratum", "weight", *confirmation.schema(), "predicted", "reason")
    controls = None
    if work.controls is not None:
        controls = work.parts(work.controls).sort("row_id").with_columns(
            stratum=pl.lit(CONTROL), weight=pl.lit(1.0), predicted=pl.lit(None, pl.Float64)
        ).select(table.columns)  # fmt: skip
        _save(run.path / FOLDER / f"{name}.controls.parquet", controls)
    left_out = work.controls.left_out if work.controls else 0
    told = facts | figures(run, work.settings, table, controls, chosen.population, left_out, facts["base"] is not None)
    _save(work.private / "answers.parquet", work.parts(work.members, "-answers"))
    _save(run.path / FOLDER / f"{name}.parquet", table)
    run.write_json(f"{FOLDER}/{name}.json", told)
    for part in [*work.private.glob("rows-*.parquet"), *work.private.glob("controls-*.parquet")]:
        part.unlink()
    shutil.rmtree(work.private / "controls", ignore_errors=True)
    return told


@dataclass
class _Work:
    """The passes over members and controls; parts that lie in the private folder are not made again."""

    private: Path
    members: Texts
    controls: Texts | None
    options: Options
    settings: Settings

    @property
    def texts(self) -> list[Texts]:
        return [self.members, *([self.controls] if self.controls else [])]

    def measured(self, base: Path | None, progress: Progress) -> dict[str, Any]:
        """Everything that a model has to say; returns what is to be told of the models."""
        import torch

        before, limit = torch.get_num_threads(), self.settings.max_length
        torch.set_num_threads(running.thread_count(self.settings.threads))
        of_base = None
        try:
            if models.is_adapter(self.options.model):
                assert base is not None
                with progress.stage("load the adapter and its base"):
                    tuned = models.load_adapted(self.options.model, base, limit)
                self._base_pass(tuned, tuned.model.disable_adapter(), progress)
                of_base = _of_model(tuned, base.resolve().name, fingerprint(base))
            else:
                if base is not None:
                    with progress.stage("load the base"):
                        plain = models.load(base, limit)
                    self._base_pass(plain, nullcontext(), progress)
                    of_base = _of_model(plain, plain.name, fingerprint(base))
                    del plain
                with progress.stage("load the tuned model"):
                    tuned = models.load(self.options.model, limit, "--model")
            with progress.stage("apply the chat template"):
                self._lengths(tuned)
            precision = self._tuned_pass(tuned, base is not None, progress)
        finally:
            torch.set_num_threads(before)
        return {"model": _of_model(tuned, tuned.name, mark(self.options.model)), "base": of_base,
                "adapter": models.is_adapter(self.options.model), "precision": precision}  # fmt: skip

    def _base_pass(self, model: LanguageModel, state: Any, progress: Progress) -> None:
        """What the model before tuning says of every answer: N_pre and the loss of each own token."""
        with progress.stage("measure the base", sum(len(t.row_id) for t in self.texts)), state:
            for texts in self.texts:
                for number, ids in texts.blocks():
                    path = self.private / f"{texts.name}-base-{number}.parquet"
                    if not path.exists():
                        lines = []
                        for row, example, found in self._answered(model, texts, ids, None):
                            for n, answer in enumerate(example.answers):
                                n_pre = training.recited(found.hits, answer)[1]
                                lines.append((row, n, n_pre, baseloss.shared(found.loss_nats, answer).tolist()))
                        _save(path, pl.DataFrame(lines, schema=OF_BASE, orient="row"))
                    progress.advance(len(ids))

    def _tuned_pass(self, model: LanguageModel, has_base: bool, progress: Progress) -> str:
        """Every metric of every row, block by block; returns the precision."""
        sampler = Sampler(self.options.top_k, self.options.temperature)
        there = {"tuned", "distribution", *(["base"] if has_base else [])}
        with progress.stage("measure the tuned model", sum(len(t.row_id) for t in self.texts)):
            for texts in self.texts:
                for number, ids in texts.blocks():
                    path = self.private / f"{texts.name}-{number}.parquet"
                    if not path.exists():
                        lines, answers = self._block(model, texts, number, ids, sampler, there)
                        _save(self.private / f"{texts.name}-answers-{number}.parquet",
                              pl.DataFrame(answers, schema=ANSWERS, orient="row"))  # fmt: skip
                        schema = {"row_id": pl.Int64, **confirmation.schema(), "reason": pl.String}
                        _save(path, pl.DataFrame(lines, schema=schema))
                    progress.advance(len(ids))
        return f"{'bf16' if self._bf16(model) else 'fp32'} on {model.device}"

    def _block(
        self, model: LanguageModel, texts: Texts, number: str, ids: Int64, sampler: Sampler, there: set[str]
    ) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
        known: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
        if "base" in there:
            path = self.private / f"{texts.name}-base-{number}.parquet"
            for row, n, n_pre, nats in pl.read_parquet(path, glob=False).iter_rows():
                known[row, n] = n_pre, np.array(nats, np.float64)
        lines: dict[int, dict[str, Any]] = {int(row): {"row_id": int(row), "reason": REFUSED} for row in ids}
        answers: list[tuple[Any, ...]] = []
        for row, example, found in self._answered(model, texts, ids, confirmation.look(sampler)):
            said = []
            for n, answer in enumerate(example.answers):
                text = model.tokenizer.decode(
                    example.ids[answer.start : answer.end], clean_up_tokenization_spaces=False
                )
                one = Said.of(found, answer, text)
                if (row, n) in known:
                    one = replace(one, base_n_pre=known[row, n][0], base_nats=known[row, n][1])
                losses = None if one.base_nats is None else _halved(one.base_nats)
                answers.append((row, n, len(one.words), one.n_pre, losses))
                said.append(one)
            lines[row] = {"row_id": row, "reason": None} | (
                confirmation.measured(Row(tuple(said)), sampler, there)
                if said else {"reason": f"no answer of it lies within the model's {model.context:,} tokens"}
            )  # fmt: skip
        return list(lines.values()), sorted(answers, key=lambda line: line[:2])

    def _answered(
        self, model: LanguageModel, texts: Texts, ids: Int64, look: training.Look | None
    ) -> Iterator[tuple[int, Example, training.Measured]]:
        """(row id, the row as the model saw it, what was measured) of those that its template takes."""
        found = chat.encode_some(segments_of(texts.run, ids), model.tokenizer, model.context)
        taken = [(int(row), e) for row, e in zip(ids, found, strict=True) if isinstance(e, Example)]
        examples = [example for _, example in taken]
        for place, measured in training.measure(model, examples, self._bf16(model, examples), look):
            yield taken[place][0], examples[place], measured

    def _bf16(self, model: LanguageModel, examples: Sequence[Example] = ()) -> bool:
        """Whether to measure in mixed precision: found out on the first rows, and kept for the whole confirmation."""
        note = self.private / "bf16.json"
        if not note.exists():
            blocks = sum(len(t.row_id) for t in self.texts) / max(1, len(examples))
            write_bytes(note, json.dumps(baseloss.bf16_pays(model, examples, blocks)).encode())
        return bool(json.loads(note.read_text("utf-8")))

    def _lengths(self, model: LanguageModel) -> None:
        """lengths.parquet: every row of the run in the model's tokens, own tokens of its answers.

        Rows that the template refuses are not in it; ModelError where they are too many.
        """
        path = self.private / "lengths.parquet"
        if path.exists():
            return
        ids = self.members.run.read_table("rows", ["row_id"])["row_id"].to_numpy()
        lines, wrong = [], ""
        for begin in range(0, len(ids), BLOCK):
            part = ids[begin : begin + BLOCK]
            encoded = chat.encode_some(segments_of(self.members.run, part), model.tokenizer, model.context)
            for row, found in zip(part.tolist(), encoded, strict=True):
                if isinstance(found, Example):
                    words = [len(a.words) for a in found.answers if len(a.words)]
                    lines.append((row, len(found.ids), words))
                else:
                    wrong = wrong or str(found)
        if len(ids) - len(lines) > baseloss.LARGEST_REFUSED * len(ids):
            raise ModelError(
                f"--model {model.name}: {len(ids) - len(lines):,} of {len(ids):,} rows cannot be measured: {wrong}"
            )
        _save(path, pl.DataFrame(lines, schema=LENGTHS, orient="row"))

    def parts(self, texts: Texts, kind: str = "") -> pl.DataFrame:
        """The finished parts of some texts, one after the other."""
        files = [self.private / f"{texts.name}{kind}-{number}.parquet" for number, _ in texts.blocks()]
        if not files:
            return pl.DataFrame(schema={"row_id": pl.Int64, **confirmation.schema(), "reason": pl.String})
        return pl.concat([pl.read_parquet(file, glob=False) for file in files])


def _halved(nats: np.ndarray) -> bytes:
    """Losses as a rehearsal keeps them: float16 nats."""
    return bytes(np.minimum(nats, np.finfo(np.float16).max).astype(np.float16).tobytes())


def _of_model(model: LanguageModel, name: str, fingerprint_: str) -> dict[str, Any]:
    return {"name": name, "parameters": model.parameters, "context": model.context, "vocabulary": model.vocabulary,
            "fingerprint": fingerprint_}  # fmt: skip


def _save(path: Path, frame: pl.DataFrame) -> None:
    with atomic(path) as temporary:
        frame.write_parquet(temporary, compression="zstd")
