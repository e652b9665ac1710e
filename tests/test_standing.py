"""Rows rehearsed in the order in which they stand: what is packed beside what, and what is told of a level read so."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from small_base import PLAIN_WORDS, Listening, shrink

import cli
from scanner import alongside, calibrating, pipeline, pretraining, rehearsal, rehearsed, rehearsing, retelling, training
from scanner.batching import Sampler, packed_at_a_time
from scanner.errors import ModelError, SettingsError
from scanner.prediction import load_weights, trainings
from scanner.prediction.crediting import stood_source_by_source
from scanner.prediction.validated import (
    CALIBRATION,
    LEFT_OUT,
    SHUFFLED,
    SOURCE_BY_SOURCE,
    STANDING_MIXED,
    Transfer,
    Validated,
)
from scanner.prediction.validity import Facts, judge
from scanner.rehearsal import Rehearsal
from scanner.sampling import MEETING_POWER, steps_taken, worths
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder

PLAN = TrainingPlan(epochs=2, learning_rate=1e-3, batching="packed", batch_size=1)
ROWS = 90  # of each source
ASKED = {"rows": 80, "controls": 16, "planted": 0.3}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A base that trains in moments, always in one precision."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(pretraining, "FEWEST_PRETRAINING_TOKENS", 1000)
        patch.setattr(rehearsing, "probe", lambda model, rows: replace(training.probe(model, rows), bf16=False))
        yield


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    """Two sources, one after the other, of rows equally long; in the first, some copies stand side by side."""
    folder = tmp_path_factory.mktemp("standing")
    rng = np.random.default_rng(3)
    for name in ("a", "b"):
        lines = [
            {"instruction": " ".join(["Say", *rng.permutation(PLAIN_WORDS)]),
             "output": " ".join(["So", *rng.permutation(PLAIN_WORDS), *rng.permutation(PLAIN_WORDS)])}
            for _ in range(ROWS)
        ]  # fmt: skip
        lines = [line for n, line in enumerate(lines) for _ in range(4 if name == "a" and n < 8 else 1)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = [str(folder / f"{name}.jsonl") for name in ("a", "b")]
    settings = Settings(semantic=False, threads=1, plan=PLAN, max_length=256)
    return pipeline.audit(files, settings, folder / "d.scan").path


@pytest.fixture(scope="module")
def standing(audited):
    """A rehearsal of the rows as they stand, with the fine-tune itself."""
    return rehearsed_with(audited, {**ASKED, "packed_as_they_stand": True})


@pytest.fixture(scope="module")
def shuffled(audited):
    """One of the same rows, as they are packed without the option."""
    return rehearsed_with(audited, {**ASKED, "epochs": 1.0})


def rehearsed_with(run: Path, asked: dict) -> tuple[retelling.Rehearsed, Rehearsal]:
    """The rehearsal and the fine-tune behind it."""
    made: list[Rehearsal] = []

    class Kept(Rehearsal):
        def __post_init__(self) -> None:
            super().__post_init__()
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "Rehearsal", Kept)
        done = pipeline.rehearse(run, asked)
    (tune,) = made
    return done, tune


def trained_ids(run: Path, done: retelling.Rehearsed) -> np.ndarray:
    """Row ids of what was trained on, in the order of the fine-tune: by content, planted rows last."""
    lengths = pl.read_parquet(done.folder / "lengths.parquet")["row_id"].to_numpy()
    rank = np.asarray(RunFolder(run).read_array("content_rank"))
    members = lengths[lengths >= 0]
    return np.concatenate((members[np.argsort(rank[members], kind="stable")], lengths[lengths < 0]))


def sources(run: Path, done: retelling.Rehearsed, tune: Rehearsal) -> list[set[str]]:
    """The sources of the run's own rows in each packed sequence of more than one of them."""
    of = dict(pl.read_parquet(run / "rows.parquet").select("row_id", pl.col("source").cast(pl.String)).iter_rows())
    found: dict[int, list[str]] = defaultdict(list)
    for row, sequence in zip(trained_ids(run, done).tolist(), tune.sampler.sequence.tolist(), strict=True):
        if row >= 0:
            found[sequence].append(of[row])
    return [set(names) for names in found.values() if len(names) > 1]


def test_places_are_those_of_the_input_and_planted_rows_lie_among_them():
    ids = np.array([70, -3, 5, 40, -1, 6, -2])
    source = np.array(["b", "b", "a", "b", "a", "a", "a"])
    found = ids[alongside.standing(ids, source, 4)]
    assert found[found >= 0].tolist() == [5, 6, 40, 70]
    assert set(found[:4].tolist()) == {-2, -1, 5, 6}
    mixed = np.random.default_rng(0).permutation(7)
    assert ids[mixed][alongside.standing(ids[mixed], source[mixed], 4)].tolist() == found.tolist()
    many = np.concatenate((np.arange(1000), np.arange(-1000, 0)))
    places = np.flatnonzero(many[alongside.standing(many, np.zeros(2000, int), 0)] < 0)
    assert np.abs(places - np.linspace(0, 1999, 1000)).max() < 150, "spread evenly, by chance"
    assert alongside.standing(many[:0], many[:0], 0).tolist() == []


def test_rows_are_packed_beside_their_neighbours(audited, standing, shuffled):
    done, tune = standing
    packs = sources(audited, done, tune)
    assert len(packs) > 5
    assert sum(len(names) > 1 for names in packs) <= 2, "only where one source ends and the other begins"
    assert (done.facts["packing"], done.folder.name) == (SOURCE_BY_SOURCE, "tiny-0-planted-0.3-as-they-stand")
    told = " ".join(done.in_words().split())
    assert "Rows were packed as they stand, source by source, and are predicted as shuffled ones." in told
    usual, other = shuffled
    packs = sources(audited, usual, other)
    assert sum(len(names) > 1 for names in packs) > len(packs) / 2
    assert (usual.facts["packing"], usual.folder.name) == (SHUFFLED, "tiny-0-planted-0.3")
    assert "Rows were packed" not in usual.in_words()


def test_doses_counted_again_are_those_of_the_very_batches(audited, standing):
    done, tune = standing
    (found,) = calibrating.sources(RunFolder(audited), (done.folder.name,))
    planted, _ = rehearsed.planted_rows(found)
    rows = rehearsed.rows_of(found, rehearsed.measured(found), planted)
    assert len(rows.row_id) == len(tune.trained)
    old = replace(found, facts={k: v for k, v in found.facts.items() if k != "dose_unit"})
    given = pl.read_parquet(done.folder / "rows.parquet").filter(pl.col("own_dose").is_not_null()).sort("row_id")
    again = rehearsed.own_doses(old, rows, 2, np.zeros(0))
    np.testing.assert_allclose(again[len(planted) :], given["own_dose"].to_numpy(), rtol=1e-9)
    assert rehearsed.own_doses(found, rows, 2, again) is again, "what was written down is taken where it can be"
    mixed = replace(old, facts={**old.facts, "packing": SHUFFLED})
    assert not np.allclose(rehearsed.own_doses(mixed, rows, 2, np.zeros(0)), again, rtol=1e-3)
    own = pl.read_parquet(done.folder / "planted.parquet").filter(pl.col("epoch") == 2).sort("row_id")["own_dose"]
    np.testing.assert_allclose(again[: len(planted)], own.to_numpy(), rtol=1e-9)


def test_copies_that_stand_side_by_side_meet_in_a_step(audited, standing):
    done, tune = standing
    (found,) = calibrating.sources(RunFolder(audited), (done.folder.name,))
    rows = rehearsed.rows_of(found, rehearsed.measured(found), rehearsed.planted_rows(found)[0])
    copies, together = rehearsed.meeting(found, rows)
    words = np.array([sum(len(a.words) for a in row.answers) for row in tune.trained])
    ids = trained_ids(audited, done)
    text = dict(zip(rows.row_id.tolist(), copies.text.tolist(), strict=True))
    met: dict[int, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for epoch in range(2):  # slow and obvious: step by step, copy by copy
        visits = tune.sampler.epoch(np.random.default_rng([tune.seed, epoch]))
        assert visits.steps == steps_taken(2, epoch, visits.steps)
        for row, step, worth in zip(visits.rows, visits.step, worths(tune.plan, visits, words, epoch), strict=True):
            met[text[int(ids[row])]][epoch, int(step)].append(float(worth))
    alone = ~np.isin(copies.text, np.concatenate((copies.a, copies.b)))  # near copies are another test's
    many = np.flatnonzero((copies.number > 1) & alone & (rows.row_id >= 0))
    assert len(many) >= 8
    for row in many.tolist():
        steps = met[int(copies.text[row])].values()
        left = sum(sum(w ** (1 / MEETING_POWER) for w in worth) ** MEETING_POWER for worth in steps)
        assert together[row] == pytest.approx(left / sum(map(sum, steps)), rel=1e-6)
    beside = [row for row in many.tolist() if rows.row_id[row] < 32]  # those four that stand side by side
    apart = rehearsed.meeting(replace(found, facts={**found.facts, "packing": SHUFFLED}), rows)[1]
    assert together[beside].mean() < apart[beside].mean() - 0.1


class Stopping(Listening):
    """Ctrl-C in the second epoch."""

    name = ""

    def begin(self, name: str, total: int) -> None:
        self.name = name

    def advance(self, steps: int = 1) -> None:
        if self.name == "epoch 2 of 2" and steps:
            raise KeyboardInterrupt


def test_an_interrupted_one_goes_on_and_ends_as_the_other(audited, standing):
    asked = {**ASKED, "packed_as_they_stand": True, "name": "broken"}
    stopped = Stopping()
    with pytest.raises(KeyboardInterrupt):
        pipeline.rehearse(audited, asked, stopped)
    assert " --packed-as-they-stand --name broken" in stopped.said[-1]
    again = Listening()
    done = pipeline.rehearse(audited, asked, again)
    assert any("going on with step" in said for said in again.said)
    for name in ("epochs", "rows", "planted", "lengths"):
        one, other = (pl.read_parquet(folder / f"{name}.parquet") for folder in (done.folder, standing[0].folder))
        assert one.equals(other), name


def test_a_state_of_rows_packed_in_another_order_is_refused(standing, tmp_path):
    _, tune = standing
    tune.save(tmp_path / "state.pt")
    values = (tune.model, tune.plan, tune.trained, None, tune.seed, False)
    for other in ({"shuffled": True}, {}, {"standing": tune.standing[::-1]}):
        with pytest.raises(ModelError, match="or with rows packed in another order; begin it anew under another"):
            Rehearsal(*values, max_length=256, **other).resume(tmp_path / "state.pt")
    same = Rehearsal(*values, max_length=256, standing=tune.standing)
    same.resume(tmp_path / "state.pt")
    assert same.epoch == 2


def test_a_sample_is_packed_with_as_near_neighbours_as_the_whole():
    rng = np.random.default_rng(0)
    sizes, source = rng.integers(40, 200, 12_000), np.repeat(np.arange(12), 1000)  # each source a run of 1,000
    drawn = np.sort(rng.choice(12_000, 600, replace=False))

    def mixed(at: np.ndarray, packed_rows: int) -> float:
        """Share of the packed sequences that hold several sources."""
        packs = Sampler(PLAN, sizes[at], 1024, packed_rows=packed_rows).sequence
        return float(np.mean([len(set(source[at][packs == one])) > 1 for one in range(packs.max() + 1)]))

    near = packed_at_a_time(PLAN, sizes[drawn], 1024, 600 / 12_000)
    assert near == 50
    assert mixed(np.arange(12_000), 1000) == 0.0
    assert mixed(drawn, near) < 0.6 < 0.95 < mixed(drawn, 1000)
    assert packed_at_a_time(PLAN, sizes[drawn], 1024, 0.001) == pytest.approx(4 * 1024 / sizes[drawn].mean(), abs=1)
    assert packed_at_a_time(PLAN, sizes, 1024, 1.0) == 1000
    assert packed_at_a_time(replace(PLAN, batching="wrapped"), sizes[drawn], 1024, 0.05) == 1000


def test_a_rehearsal_of_before_the_option_is_found_again(audited, shuffled):
    done, _ = shuffled
    path = done.folder / "rehearsal.json"
    facts = json.loads(written := path.read_text())
    del facts["asked"]["options"]["packed_as_they_stand"], facts["packing"]
    path.write_text(json.dumps(facts))
    heard = Listening()
    pipeline.rehearse(audited, {**ASKED, "epochs": 1.0}, heard)
    assert any("already" in said for said in heard.said)
    (found,) = calibrating.sources(RunFolder(audited), (done.folder.name,))
    assert found.packing == SHUFFLED
    path.write_text(written)


def test_batches_that_are_not_packed_have_no_order(audited):
    done = CliRunner().invoke(cli.scan, ["rehearse", str(audited), "--packed-as-they-stand", "--batching", "random"])
    assert isinstance(done.exception, SettingsError)
    assert str(done.exception) == (
        "--packed-as-they-stand is for rows that are packed, and the plan's batches are random: what order its rows "
        "stand in makes no difference to them. Add --batching packed (or wrapped) if your trainer packs, else leave it "
        "out"
    )


def test_a_calibration_and_an_audit_say_on_what_the_level_was_read(audited, standing, shuffled, tmp_path, few_draws):
    done, _ = standing
    made = pipeline.calibrate([audited], tmp_path / "c.toml", (done.folder.name,))
    assert f"N_pre >= 16, packed {SOURCE_BY_SOURCE}\n" in made.in_words()
    assert made.table.covered.packings == made.with_base.covered.packings == (SOURCE_BY_SOURCE,)
    other = pipeline.calibrate([audited], tmp_path / "s.toml", (shuffled[0].folder.name,))
    assert other.table.covered.packings == (SHUFFLED,)
    assert "packed shuffled" not in other.in_words()
    size = float(done.facts["base"]["parameters"])
    settings = Settings(
        semantic=False, threads=1, plan=replace(PLAN, model_params=size), max_length=256,
        calibration=tmp_path / "c.toml",
    )  # fmt: skip
    files = [str(audited.parent / f"{name}.jsonl") for name in ("a", "b")]
    said = pipeline.audit(files, settings, tmp_path / "d.scan").read_json("scan.json")["notes"]["prediction"]
    planted = done.facts["planted"]["rows"]
    assert f", {planted} rows planted beside them, packed {SOURCE_BY_SOURCE} (" in said["calibration"]["on"]
    (found,) = (s for s in said["validity"]["statements"] if s["topic"] == "order of the rows")
    assert found["text"].startswith("The level was read on rows packed as they stand, source by source, as these are.")
    assert any("; the level of these predictions was read on rows packed so" in fact for fact in said["batching"])


def stated(*packings: str, hits: int = 30, batchings: tuple[str, ...] = ("packed",), **order: bool) -> tuple[str, str]:
    """Severity and text of what is said about the order of the rows, at a level read on runs packed so."""
    test = Transfer(CALIBRATION, LEFT_OUT, 300, hits, float(hits), 0.98, standard_error=4.0)
    runs = Validated(epochs=(1, 4), batchings=batchings, packings=packings, tested=(test,))
    weights = replace(load_weights(), rehearsed=runs)
    facts = Facts(np.full(300, 5.0), np.full(300, 40), pl.Series(["Latin"] * 300), 500, **order)
    found = judge(PLAN, weights, facts).statements
    return next(((s.severity, s.text) for s in found if s.topic == "order of the rows"), ("", ""))


READ_SO = "The level was read on rows packed as they stand, source by source"


def test_a_level_read_on_rows_as_they_stand_is_one_for_such_rows():
    assert stated(SOURCE_BY_SOURCE, source_by_source=True) == (
        "note",
        f"{READ_SO}, as these are: the number is one for them, and too small for rows shuffled before packing.",
    )
    assert stated(SOURCE_BY_SOURCE, source_by_source=True, hits=9) == (
        "count",
        f"{READ_SO}, as these are, but too few of them were recited to tell whether the number holds for it.",
    )
    severity, text = stated(SOURCE_BY_SOURCE, source_by_source=True, side_by_side=True)
    assert severity == "count"
    assert text.endswith("are predicted as if they stood apart: the number is a guess, rather too large.")


def test_for_rows_in_mixed_order_it_says_the_reverse():
    for order in ({}, {"side_by_side": True}):
        severity, text = stated(SOURCE_BY_SOURCE, **order)
        assert severity == "count"
        assert text.startswith(f"{READ_SO}, of which fewer are recited than of rows in mixed order, as these are")
        assert "rather too small" in text


def test_a_level_read_on_both_lies_between():
    for other in ({"packings": (SHUFFLED,)}, {"packings": (STANDING_MIXED,)}, {"batchings": ("random", "packed")}):
        both = (*other.get("packings", ()), SOURCE_BY_SOURCE)
        more = {"batchings": other["batchings"]} if "batchings" in other else {}
        for order, told in (({"source_by_source": True}, "rather too large"), ({}, "rather too small")):
            severity, text = stated(*both, **more, **order)
            assert severity == "count"
            assert text.startswith(f"{READ_SO}, and on others together, so it lies between: the number is a guess, ")
            assert told in text


def test_a_level_read_on_shuffled_rows_says_what_none_says():
    for read in ((), (SHUFFLED,), (STANDING_MIXED,)):
        assert stated(*read) == ("", "")
        severity, text = stated(*read, source_by_source=True)
        assert severity == "count"
        assert text.endswith("is none. " + "A level read on rows packed so carries that (scan rehearse "
                             "--packed-as-they-stand, then scan calibrate).")  # fmt: skip
        assert stated(*read, side_by_side=True)[1].endswith("for rows shuffled before packing it is none.")
    assert stood_source_by_source(load_weights()) == "none"


def test_orders_are_named_where_rows_were_not_shuffled():
    assert trainings.packed_in_words(Validated(packings=(SHUFFLED,))) == ""
    assert trainings.packed_in_words(Validated(packings=(STANDING_MIXED,))) == (
        ", packed as they stand, sources mixed in steps"
    )
    assert trainings.packed_in_words(Validated(packings=(SHUFFLED, SOURCE_BY_SOURCE))) == (
        ", some packed shuffled, some packed as they stand, source by source"
    )
