"""Evaluation files of many layouts become items; what cannot be read says so; a whole run holds the matches."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from contamination import corpus
from corpora import write_jsonl

from scanner import contamination, decontaminating, embedding, explain, matching, pipeline
from scanner.contamination import semantic
from scanner.contamination.items import Items, words_of
from scanner.errors import InputError, LayoutError, SettingsError
from scanner.ingest import read_all
from scanner.reports import terminal
from scanner.settings import Settings
from scanner.store import RunFolder


def items_of(tmp_path: Path, *paths: Path) -> Items:
    settings = Settings(evaluation=paths)
    run = RunFolder.open_for_writing(tmp_path / "r.scan")
    return matching.read_items(run, matching.survey(settings).sources, settings, 1)[0]


def texts_of(tmp_path: Path, items: Items) -> list[tuple[str, str]]:
    """Question and answer of every item, read back from the kept segments."""
    segments = decontaminating.items_of(RunFolder(tmp_path / "r.scan")).segments().frame(["text"])
    frame = segments.with_columns(item=pl.Series(items.of_segment), part=pl.Series(items.part))
    said = [
        "|".join(frame.filter((pl.col("item") == i) & (pl.col("part") == part))["text"])
        for i in range(len(items))
        for part in (0, 1)
    ]
    return list(zip(said[::2], said[1::2], strict=True))


LAYOUTS: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "pair": ("a.jsonl", '{"question": "Q one", "answer": "A one"}\n', [("Q one", "A one")]),
    "alpaca": ("a.jsonl", '{"instruction": "Do", "input": "this", "output": "done"}\n', [("Do|this", "done")]),
    "mmlu": (
        "a.csv",
        'Find all c,0,1,"2, 3",4,C\nStatement 1,x,y,z,w,A\n',
        [("Find all c", "2, 3"), ("Statement 1", "x")],
    ),
    "named": ("a.json", '{"T/1": "Write one", "T/2": "Write two"}', [("Write one", ""), ("Write two", "")]),
    "compared": ("a.jsonl", '{"test": "T", "train": ["x"], "results": [false]}\n', [("T", "")]),
    "turns": ("a.jsonl", '{"turns": ["First", "Then"], "reference": ["R", "S"]}\n', [("First", "R")]),
    "choices": ("a.jsonl", '{"question": "Q", "choices": ["u", "v"], "answer": "B"}\n', [("Q", "v")]),
    "messages": (
        "a.jsonl",
        '{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}, '
        '{"role": "user", "content": "R"}, {"role": "assistant", "content": "B"}]}\n',
        [("Q", "A")],
    ),
    "number": ("a.jsonl", '{"question": "Q", "choices": ["u", "v"], "answer": 1}\n', [("Q", "v")]),
    "arc": (
        "a.jsonl",
        '{"question": {"stem": "Q", "choices": [{"text": "u", "label": "A"}, {"text": "v", "label": "B"}]}, '
        '"answerKey": "B"}\n{"question": {"stem": "R", "choices": [{"text": "u", "label": "1"}, {"text": "v", '
        '"label": "2"}]}, "answerKey": "1"}\n',
        [("Q", "v"), ("R", "u")],
    ),
    "arc_hf": (
        "a.jsonl",
        '{"question": "Q", "choices": {"text": ["u", "v"], "label": ["A", "B"]}, "answerKey": "B"}\n'
        '{"question": "R", "choices": {"text": ["u", "v"], "label": ["1", "2"]}, "answerKey": "1"}\n',
        [("Q", "v"), ("R", "u")],
    ),
    "openbookqa": (
        "a.jsonl",
        '{"question_stem": "Q", "choices": {"text": ["u", "v"], "label": ["A", "B"]}, "answerKey": "B"}\n',
        [("Q", "v")],
    ),
    "hellaswag": ("a.jsonl", '{"ctx_a": "Q", "ctx": "Q r", "endings": ["u", "v"], "label": "1"}\n', [("Q r", "v")]),
    "boolq": ("a.jsonl", '{"question": "Q", "passage": "P", "answer": true}\n', [("P|Q", "")]),
    "squad": (
        "a.jsonl",
        '{"title": "T", "context": "P", "question": "Q", "answers": {"text": ["a", "b"], "answer_start": [3, 4]}}\n',
        [("P|Q", "a")],
    ),
    "squad_articles": (
        "a.json",
        '{"version": "1", "data": [{"title": "T", "paragraphs": [{"context": "P", "qas": [{"id": "1", "question": "Q",'
        ' "answers": [{"text": "a", "answer_start": 3}]}, {"id": "2", "question": "R", "answers": []}]}]}, {"title": '
        '"U", "paragraphs": [{"context": "O", "qas": [{"question": "S", "answers": [{"text": "c"}]}]}]}]}',
        [("P|Q", "a"), ("R", ""), ("O|S", "c")],
    ),
    "truthfulqa": (
        "a.jsonl",
        '{"question": "Q", "best_answer": "a", "correct_answers": ["a", "b"], "incorrect_answers": ["c"]}\n',
        [("Q", "a")],
    ),
    "truthfulqa_mc": (
        "a.jsonl",
        '{"question": "Q", "mc1_targets": {"choices": ["u", "v"], "labels": [0, 1]}, "mc2_targets": {}}\n',
        [("Q", "v")],
    ),
    "winogrande": ("a.jsonl", '{"sentence": "Q", "option1": "u", "option2": "v", "answer": "1"}\n', [("Q", "u")]),
    "piqa": ("a.jsonl", '{"goal": "Q", "sol1": "u", "sol2": "v", "label": 1}\n', [("Q", "v")]),
    "letters": ("a.jsonl", '{"question": "Q", "A": "u", "B": "v", "answer": "B"}\n', [("Q", "v")]),
    "by_letter": ("a.jsonl", '{"question": "Q", "options": {"A": "u", "B": "v"}, "answer": "B"}\n', [("Q", "v")]),
    "query": ("a.jsonl", '{"query": "Q", "options": ["u", "v"], "gold": 1}\n', [("Q", "v")]),
    "mbpp": ("a.jsonl", '{"text": "Write", "code": "def f()", "test_list": ["assert"]}\n', [("Write", "def f()")]),
    "humaneval": ("a.jsonl", '{"prompt": "def f()", "canonical_solution": "pass"}\n', [("def f()", "pass")]),
    "by_id": (
        "a.json",
        '{"one": {"question": "Q", "answer": "a"}, "two": {"question": "R", "options": ["u", "v"], "answer": "B"}}',
        [("Q", "a"), ("R", "v")],
    ),
    "text": ("a.jsonl", '{"text": "All of it"}\n', [("All of it", "")]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_questions_and_answers_are_told_apart(name: str, tmp_path: Path) -> None:
    file, content, expected = LAYOUTS[name]
    (tmp_path / file).write_text(content, "utf-8")
    items = items_of(tmp_path, tmp_path / file)
    assert texts_of(tmp_path, items) == expected
    assert items.benchmarks == (file,)


def test_tasks_by_name_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"T/1": "Write one", "T/2": "Write two"}')
    assert items_of(tmp_path, tmp_path / "a.json").item == ("T/1", "T/2")


def test_items_of_one_record_are_named_by_their_place_in_it(tmp_path: Path) -> None:
    for name, expected in (("squad_articles", ("1/0/0", "1/0/1", "2/0/0")), ("by_id", ("one", "two"))):
        file, content, _ = LAYOUTS[name]
        (tmp_path / file).write_text(content)
        assert items_of(tmp_path, tmp_path / file).item == expected


def test_the_letter_of_a_choice_that_is_told_by_number_counts_too(tmp_path: Path) -> None:
    file, content, _ = LAYOUTS["number"]
    (tmp_path / file).write_text(content)
    by_number = items_of(tmp_path, tmp_path / file).letter
    (tmp_path / file).write_text(LAYOUTS["choices"][1])
    assert by_number.tolist() == items_of(tmp_path, tmp_path / file).letter.tolist() != [0]


def test_items_whose_records_share_a_line_are_named_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps([{"question": f"Q {i}", "answer": "A"} for i in range(3)]), "utf-8")
    (tmp_path / "own.jsonl").write_text('\n{"question": "Q", "answer": "A"}\n', "utf-8")
    items = items_of(tmp_path, tmp_path / "one.json", tmp_path / "own.jsonl")
    assert items.item == ("1", "2", "3", "2")
    assert items.line.tolist() == [1, 1, 1, 2]


def test_an_archive_is_one_benchmark_and_notes_beside_it_are_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("dev/x.csv", "Find all c,0,1,2,3,B\n")
        archive.writestr("test/x.csv", "Find all d,0,1,2,3,B\nFind all e,0,1,2,3,B\n")
        archive.writestr("urls.txt", "http://example.org/a\nhttp://example.org/b\n")
    items = items_of(tmp_path, tmp_path / "set.zip")
    assert items.benchmarks == ("set.zip",)
    assert items.item == ("dev/x.csv:1", "test/x.csv:1", "test/x.csv:2")


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    def reading(name: str, content: str) -> Any:
        (tmp_path / name).write_text(content, "utf-8")
        return lambda: items_of(tmp_path, tmp_path / name)

    with pytest.raises(InputError, match=r"--eval: .*gone\.jsonl: there is no such file or folder; expected a data"):
        matching.survey(Settings(evaluation=(tmp_path / "gone.jsonl",)))
    with pytest.raises(InputError, match=r"--eval: empty\.jsonl: the file is empty, expected at least one record"):
        reading("empty.jsonl", "")()
    with pytest.raises(LayoutError, match=r"--eval: odd\.jsonl: no layout fits .* keys x; .*; write its items as JSON"):
        reading("odd.jsonl", '{"x": 1}\n')()
    (tmp_path / "folder").mkdir()
    (tmp_path / "odd.jsonl").rename(tmp_path / "folder" / "odd.jsonl")
    with pytest.raises(LayoutError, match=r"--eval: odd\.jsonl: no layout fits .*; write its items as JSON"):
        items_of(tmp_path, tmp_path / "folder")
    with pytest.raises(SettingsError, match="--decontaminate is 'all'; it must be one of both, question, review, off"):
        Settings(decontaminate="all")
    assert matching.survey(Settings()).sources == []


def test_what_is_not_understood_is_left_out_of_a_folder_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    write_jsonl(folder / "b.jsonl", corpus.items())
    for name in ("a", "c"):
        (folder / f"{name}.jsonl").write_text('{"x": 1}\n')
    with zipfile.ZipFile(folder / "d.zip", "w") as archive:
        archive.writestr("odd.jsonl", '{"x": 1}\n')
        archive.writestr("some.jsonl", '{"question": "Q", "answer": "A"}\n')
    found = matching.survey(Settings(evaluation=(folder,)))
    assert [(s.index, s.name) for s in found.sources] == [(0, "b.jsonl"), (1, "d.zip/some.jsonl")]
    data = write_jsonl(tmp_path / "data.jsonl", corpus.clean_rows(5))
    run = pipeline.audit([str(data)], Settings(evaluation=(folder,), semantic=False), tmp_path / "r.scan")
    why = "evaluation items not understood"
    assert run.read_json("scan.json")["notes"]["left_out"] == [
        {"name": name, "why": why} for name in ("a.jsonl", "c.jsonl", "d.zip/odd.jsonl")
    ]
    shown = " ".join(terminal.render(run).decode().split())
    assert f"Left out ({why}): a.jsonl, c.jsonl and d.zip/odd.jsonl" in shown
    with pytest.raises(LayoutError, match=r"--eval: a\.jsonl: no layout fits"):  # for it was named itself
        matching.survey(Settings(evaluation=(folder / "a.jsonl", folder / "b.jsonl")))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 rows: row 0 holds question and answer 1, row 1 the question 2, row 2 an address and question 3."""
    folder = tmp_path_factory.mktemp("audited")
    items = corpus.items()
    items[2]["question"] += " Write to maria.long@brightwater.co"
    rows = [
        {"instruction": items[0]["question"], "output": items[0]["answer"]},
        {"instruction": items[1]["question"], "output": "no idea at all"},
        {"instruction": items[2]["question"], "output": "no idea at all either"},
        *corpus.clean_rows(57),
    ]
    data, evaluation = write_jsonl(folder / "data.jsonl", rows), write_jsonl(folder / "bench.jsonl", items)
    pipeline.audit([str(data)], Settings(evaluation=(evaluation,)), folder / "r.scan")
    return folder / "r.scan"


def test_a_run_holds_matches_summary_and_plan(audited: Path) -> None:
    matches = pl.read_parquet(audited / "matches.parquet")
    assert matches.select("row_id", "item", "part", "how").rows() == [
        (0, "1", "both", "exact"), (1, "2", "question", "exact"), (2, "3", "question", "exact"),
    ]  # fmt: skip
    scan = json.loads((audited / "scan.json").read_text())
    assert scan["summary"]["contamination"] == {
        "bench.jsonl": {
            "items": 12, "matched": 3, "share": 0.25, "rows": 3, "semantic_only": 0, "semantic_in": None,
            "semantic_confirmed": None, "not_searched": 0,
            "by_part": {"question": 2, "answer": 0, "both": 1},
            "by_how": {"exact": 3, "ngram": 0, "near": 0, "semantic": 0},
        }
    }  # fmt: skip
    plan = pl.read_parquet(audited / "plan.parquet").head(3).select("action", "keep_row_id", "rule_id", "why")
    assert plan.rows()[0] == (
        "drop", None, "contamination/exact", "holds question and answer of item 1 of bench.jsonl (word for word)",
    )  # fmt: skip
    assert plan.rows()[1][:3] == ("review", None, "contamination/exact")
    assert plan.rows()[2][0] == "redact"  # an address that everyone may see goes before a question


def test_reports_show_items_beside_rows_and_hide_what_is_private(audited: Path) -> None:
    run = RunFolder(audited)
    page = (audited / "report.html").read_text()
    assert "3 of 12 items of bench.jsonl (25 %): 1 question and answer, 2 question only; 3 exact" in page
    assert page.count("Items beside the rows that hold them") == 1
    pipeline.report(run, ["markdown", "json"])
    for name in ("report.html", "report.md", "report.json"):
        assert "maria.long" not in (audited / name).read_text(), name
    shown = json.loads((audited / "report.json").read_text())["matches"]
    assert [match["item"] for match in shown] == ["1", "2", "3"]
    assert shown[2]["difference"]["left"]
    told = explain.explain(run, 0).sentences()
    assert "It holds question and answer of item 1 of bench.jsonl: word for word (similarity 1.00)." in told


def test_judging_again_follows_the_choice(audited: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(audited, tmp_path / "r.scan")
    for choice, actions in (
        ("question", ["drop"] * 3),
        ("review", ["review", "review", "redact"]),
        ("off", ["keep", "keep", "redact"]),
    ):
        pipeline.judge(copy, {"decontaminate": choice})
        assert pl.read_parquet(copy / "plan.parquet").head(3)["action"].to_list() == actions, choice
    pipeline.purge(copy)
    pipeline.report(RunFolder(copy), ["html"])


def test_other_evaluation_data_is_another_run(audited: Path) -> None:
    from scanner.errors import RunError

    folder = audited.parent
    other = write_jsonl(folder / "other.jsonl", corpus.items(3, seed=9))
    with pytest.raises(RunError, match="another input or other settings"):
        pipeline.audit([str(folder / "data.jsonl")], Settings(evaluation=(other,)), audited)


def test_a_benchmark_in_one_line_is_counted_item_by_item(tmp_path: Path) -> None:
    items = corpus.items()
    rows = [{"instruction": item["question"], "output": item["answer"]} for item in items[:5]]
    evaluation = tmp_path / "bench.json"
    evaluation.write_text(json.dumps(items), "utf-8")
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    run = pipeline.audit([str(data)], Settings(evaluation=(evaluation,), semantic=False), tmp_path / "r.scan")
    assert run.read_json("scan.json")["summary"]["contamination"]["bench.json"]["matched"] == 5
    assert run.read_table("matches")["item"].to_list() == ["1", "2", "3", "4", "5"]


def test_a_file_that_is_the_benchmark_trips_the_brake(tmp_path: Path) -> None:
    rows = [{"instruction": item["question"], "output": item["answer"]} for item in corpus.items()]
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    run = pipeline.audit([str(data)], Settings(evaluation=(data,), semantic=False), tmp_path / "r.scan")
    said = run.read_json("scan.json")["notes"]["brake"]
    assert said == [
        "the plan would drop 12 of 12 rows of data.jsonl (100 %), more than --max-removal-share 0.5 allows; "
        "12 of these hold evaluation items"
    ]


def test_the_same_sum_in_other_words_is_for_review(tmp_path: Path) -> None:
    items = [
        {
            "question": "Farmer Helga has 17 sheep and 23 goats on her meadow. She sells 9 sheep and buys 14 goats at "
            "the market on Friday. How many animals graze on the meadow now?",
            "answer": "45",
        },
        {"question": "Which river flows through the old town of Heidelberg in Germany?", "answer": "Neckar"},
    ]
    rows = [
        "On the meadow of farmer Helga there are 17 sheep and 23 goats. At Friday's market she buys 14 goats and sells "
        "9 of the sheep. How many animals are now grazing on her meadow?",
        "On the meadow of farmer Helga there are 18 sheep and 31 goats. At Friday's market she buys 6 goats and sells "
        "5 of the sheep. How many animals are now grazing on her meadow?",
        "Which mountain stands behind the old castle of Salzburg in Austria?",
    ]
    data = write_jsonl(tmp_path / "data.jsonl", [{"prompt": text, "response": "?"} for text in rows])
    run = RunFolder.open_for_writing(tmp_path / "r.scan")
    settings = Settings(evaluation=(write_jsonl(tmp_path / "bench.jsonl", items),))
    from scanner import formats

    read, _ = read_all(formats.discover([str(data)]), run, settings, 1)
    known, _ = matching.read_items(run, matching.survey(settings).sources, settings, 1)
    own = decontaminating.items_of(run).segments()
    alike = semantic.find(run.segments(), read.row_id, own, known, embedding.load(None), 1)
    assert (alike.row_id.tolist(), alike.item.tolist()) == ([0], [0])  # other numbers make another sum
    assert 0.7 <= alike.cosine[0] < 1
    pairs, _ = contamination.find_words(run.segments(), read, known, 1)
    joined = contamination.together(pairs, alike)
    assert contamination.table(joined, known)["how"].to_list() == ["semantic"]


def test_words_of_a_batch_without_text_are_none(segments_of: Any) -> None:
    corpus_of_one = segments_of([("", "")])
    batch = next(iter(corpus_of_one.run.segments()))
    words, at = words_of(batch)
    assert not len(words)
    assert np.array_equal(at, np.zeros(3))


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["data/test/sociology.csv:3", "data/test/sociology.csv:9"], "2 more in other words, all of sociology.csv, to"),
        (["a/b.csv:3", "a/b.csv:9", "a/c.csv:1"], "3 more in other words, 2 of them of b.csv, to"),
        (["a/b.csv:3", "a/c.csv:9", "a/d.csv:1"], "3 more in other words, to"),
        (["3", "9"], "2 more in other words, to"),
    ],
)
def test_the_file_of_an_archive_that_is_asked_in_other_words_is_named(items: list[str], said: str) -> None:
    from scanner import decontaminating
    from scanner.reports import _words

    size = len(items)
    matches = pl.DataFrame(
        {"row_id": range(size), "source": ["b.zip"] * size, "item": items, "part": ["question"] * size,
         "how": ["semantic"] * size, "kind": [decontaminating.KIND] * size}
    )  # fmt: skip
    found = decontaminating.per_benchmark(matches, [{"name": "b.zip", "items": 40, "not_searched": 0}])
    assert _words.contamination({"contamination": found})[0] == f"0 of 40 items of b.zip (0 %); {said} review"


@pytest.mark.parametrize(("confirmed", "said"), [(3, "all"), (2, "2 of them")])
def test_what_a_transformer_confirmed_is_said(confirmed: int, said: str) -> None:
    from scanner import decontaminating
    from scanner.reports import _words

    by = ["minilm"] * confirmed + [None] * (3 - confirmed)
    matches = pl.DataFrame(
        {"row_id": range(3), "source": ["b.csv"] * 3, "item": ["3", "9", "1"], "part": ["question"] * 3,
         "how": ["semantic"] * 3, "kind": [decontaminating.KIND] * 3, "confirmed_by": by}
    )  # fmt: skip
    found = decontaminating.per_benchmark(matches, [{"name": "b.csv", "items": 40, "not_searched": 0}])
    assert found["b.csv"]["semantic_confirmed"] == {"items": confirmed, "model": "minilm"}
    line = f"0 of 40 items of b.csv (0 %); 3 more in other words, {said} confirmed by minilm, to review"
    assert _words.contamination({"contamination": found}) == [line]


def test_of_benchmarks_with_as_many_items_the_one_with_answers_comes_first() -> None:
    lines = [(0, name, item, part) for name, part in (("a", "question"), ("b", "both")) for item in ("1", "2")]
    matches = pl.DataFrame(lines, schema=["row_id", "source", "item", "part"], orient="row").with_columns(
        kind=pl.lit(decontaminating.KIND), how=pl.lit("exact"), similarity=pl.lit(1.0)
    )
    known = [{"name": name, "items": 4, "not_searched": 0} for name in ("a", "b", "c")]
    assert list(decontaminating.per_benchmark(matches, known)) == ["b", "a", "c"]
