"""The pictures of the prediction: well-formed, true to their tables, titled by what they show, visible in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html import escape, unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import synthetic
from browsing import Page, browser

from scanner import trust
from scanner.reports import _curves, _top, render
from scanner.reports import _words as words
from scanner.reports._plot import Plot, Scale, between, decades, upper_decade
from scanner.store import RunFolder

HOSTILE = '"><script>alert(1)</script>&'
TOKENS = (1, 2, 4, 8, 16, 32, 64)
SKEW = [
    {"epochs": e, "tokens": n, "expected_rows": 4.0 * e * 100 / n**1.5} for e in (1.0, 3.0, 6.0) for n in TOKENS
]  # fmt: skip
BINS = [
    {"predicted": 0.001, "observed": 0.0, "rows": 500, "low": 0.0, "high": 0.005},
    {"predicted": 0.3, "observed": 0.25, "rows": 40, "low": 0.15, "high": 0.38},
    {"predicted": 0.9, "observed": 1.0, "rows": 10, "low": 0.79, "high": 1.0},
]  # fmt: skip
VALIDITY = {
    "severity": "order", "meaning": "a guess", "rows": 300, "rows_outside": {"dose": 0, "script": 200},
    "interval": [9.0, 240.0],
    "statements": [
        {"topic": "model size", "severity": "order", "short": "model size (7 B; trained and measured were 4.2 M)",
         "rows": None, "text": "The plan's model has 7 B parameters: the number of rows is a guess."},
        {"topic": "Han script", "severity": "order", "short": "Chinese rows (200 of 300)", "rows": 200,
         "text": "Chinese rows (200 of 300): never checked."},
        {"topic": "epochs", "severity": "count", "short": "12 epochs (validated up to 8)", "rows": None, "text": "x."},
        {"topic": "batching", "severity": "count", "short": "packed batches (never rehearsed)", "rows": None,
         "text": "y."},
        {"topic": "method", "severity": "inside", "short": "full fine-tuning", "rows": None, "text": HOSTILE},
    ],
}  # fmt: skip


def what_if(variants: tuple[str, ...], interval: bool = True) -> pl.DataFrame:
    lines = []
    for k, variant in enumerate(variants):
        for epochs in (0.0, 1.5, 3.0, 6.0):
            rows = 0.02 + 10 * epochs / (k + 1)
            more = {"low": rows / 2, "high": rows * 2} if interval else {}
            lines.append({"variant": variant, "epochs": epochs, "expected_rows": rows, **more})
    return pl.DataFrame(lines)


def rehearse(run: RunFolder, name: str) -> None:
    """A rehearsal of 20 members of which k reach k tokens, and a control that must not be counted."""
    folder = run.path / "rehearsal" / name
    folder.mkdir(parents=True)
    lines = [{"row_id": i, "stratum": "member", "epoch": e, "tokens": 40, "n_pre": min(40, i * e)}
             for e in (0, 1, 3) for i in range(20)]  # fmt: skip
    lines += [{"row_id": 99, "stratum": "control", "epoch": 3, "tokens": 40, "n_pre": 40},
              {"row_id": 98, "stratum": "member", "epoch": 3, "tokens": 9, "n_pre": 9}]  # fmt: skip
    pl.DataFrame(lines).write_parquet(folder / "epochs.parquet")
    predicted = [{"epochs": e, "tokens": n, "expected_rows": 18.0 * e / n} for e in (1.0, 3.0, 6.0) for n in TOKENS]
    (folder / "rehearsal.json").write_text(json.dumps({"prediction": {"skew": predicted, "bins": BINS}}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made, _ = synthetic.from_demo()
    run = synthetic.write(made, tmp_path_factory.mktemp("curves") / "demo.scan")
    run.write_table("skew", pl.DataFrame(SKEW))
    run.write_table("whatif", what_if(("as planned", "after deduplication", HOSTILE)))
    for name in ("tiny-0", "tiny-1", HOSTILE.replace("/", ""), "z"):
        rehearse(run, name)
    scan = run.read_json("scan.json")
    scan["summary"]["prediction"]["validity"] = VALIDITY
    ahead = {"on": "the last epoch", "bins": BINS[:2], "calibration_error": 0.02, "calibration_error_by_chance": 0.011}
    scan["notes"]["prediction"]["evaluation"] = {"on": HOSTILE, "bins": BINS, "ahead": ahead}
    run.write_json("scan.json", scan)
    return run


@pytest.fixture(scope="module")
def page(drawn: RunFolder) -> str:
    return render(drawn, "html").decode()


def figures(page: str) -> list[str]:
    return re.findall(r"<figure>.*?</figure>", page, re.S)


def marks(figure: str | Any, tag: str, style: str) -> list[dict[str, str]]:
    root = ET.fromstring(str(figure))
    return [e.attrib for e in root.iter(tag) if style in e.attrib.get("class", "").split()]


def test_every_picture_is_well_formed_and_told(page: str) -> None:
    found = figures(page)
    assert len(found) >= 11
    for figure in found:
        assert re.search(r"<b>.{12,}?</b>", figure), "a picture needs a title that says what it shows"
        picture = re.search(r"<svg.*?</svg>", figure, re.S)
        assert picture is not None
        root = ET.fromstring(picture[0])
        assert len(root.attrib["aria-label"]) > 40
        assert root.attrib["role"] == "img"
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for mark in root.iter():
            for key, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                assert -0.5 <= float(mark.attrib.get(key, 0)) <= limit + 0.5
            for point in mark.attrib.get("points", "").split():
                x, y = map(float, point.split(","))
                assert -0.5 <= x <= width + 0.5
                assert -0.5 <= y <= height + 0.5


def test_hostile_names_stay_text(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not Page(page).unbalanced


def test_the_skew_shows_the_table() -> None:
    figure = _curves.skew(SKEW, 3.0, 1000, 16)
    assert figure is not None
    assert figure.title == "After twice the epochs 2 times as many rows reach 16 tokens"
    plot, _ = _curves._tail_plot({1.0: [(n, 1.0) for n in TOKENS], 6.0: [(1, 2400.0)]}, 3)
    dots = marks(figure.picture, "circle", "main")
    planned = [p for p in SKEW if p["epochs"] == 3]
    assert len(dots) == len(planned)
    for at, point in zip(dots, planned, strict=True):
        x, y = plot.at(point["tokens"], point["expected_rows"])
        assert (float(at["cx"]), float(at["cy"])) == pytest.approx((x, y), abs=0.06)
    label = ET.fromstring(str(figure.picture)).attrib["aria-label"]
    for point in SKEW:
        assert f"{point['expected_rows']:.3g} rows reach {point['tokens']}" in label
    assert "3 epochs: 19 rows reach 16 tokens (planned)" in str(figure.picture)
    # 1 % of 1,000 rows: 10 = 1,200 / n^1.5
    assert f"1 % of the rows: {(1200 / 10) ** (2 / 3):.0f} tokens or more" in str(figure.picture)
    assert _curves.skew([], 3.0, 10, 16) is None
    assert _curves.skew([{"epochs": 3, "tokens": 1, "expected_rows": 0.0}], 3.0, 10, 16) is None


@pytest.mark.parametrize(
    ("now", "later", "title"),
    [
        (40.0, 100.0, "After twice the epochs 2.5 times as many rows reach 16 tokens"),
        (0.083, 11.6, "After twice the epochs 140 times as many rows reach 16 tokens"),
        (10.0, 99.7, "After twice the epochs 10 times as many rows reach 16 tokens"),
        (251.0, 257.0, "After twice the epochs hardly more rows reach 16 tokens"),
        (0.01, 3.0, "After twice the epochs 3 rows instead of hardly one reach 16 tokens"),
        (0.01, 0.2, "Hardly a row reaches 16 tokens, nor after twice the epochs"),
        (0.0, 3.0, "How many rows reach 16 tokens, by epochs"),
    ],
)
def test_the_title_of_the_skew_is_its_finding(now: float, later: float, title: str) -> None:
    assert _curves._skew_title({3.0: now, 6.0: later}, 3.0, 16) == title


def test_measured_points_stand_beside_the_prediction(drawn: RunFolder) -> None:
    one = next(r for r in _curves.rehearsals(drawn) if r.name == "tiny-0")
    assert {e["epochs"] for e in one.measured} == {1.0, 3.0}, "epochs that were not measured have no points"
    at = {(e["epochs"], e["tokens"]): e["rows"] for e in one.measured}
    assert at[(3.0, 1)] == 19, "controls and short answers are not counted"
    assert at[(3.0, 16)] == 14
    assert at[(1.0, 16)] == 4
    figure = _curves.beside(one.predicted, one.measured, one.name, 16)
    assert figure is not None
    assert figure.title == "Measured: 14 rows recited for 16 tokens after 3 epochs; predicted: 3.4"
    label = ET.fromstring(str(figure.picture)).attrib["aria-label"]
    assert "1 epoch: 19 rows reached 1, 18 predicted, 18 rows reached 2, 9 predicted" in label
    dots = marks(figure.picture, "circle", "main")
    assert len(dots) == sum(1 for (e, _), rows in at.items() if e == 3.0 and rows)
    curves = _curves.gather(drawn, drawn.read_json("scan.json"), [])
    assert len(curves.skew) == 1 + _curves.REHEARSALS
    assert curves.more_rehearsals == 1


def test_what_if_has_a_panel_with_its_band_for_every_variant() -> None:
    table = what_if(("as planned", "after deduplication")).to_dicts()
    planned, cleaned, options = _curves.what_if_panels(table, 3.0, 16)
    assert options is None, "every variant has a curve of its own"
    assert planned is not None
    assert cleaned is not None
    assert planned.title == "As planned: 30 rows at 3 epochs"
    assert cleaned.title == "After deduplication: 15 rows at 3 epochs instead of 30"
    assert cleaned.told == "90 % interval 7.5 to 30. Pale: as planned."
    plot = Plot(Scale(0, 6), Scale(0.1, 1000, "log"))
    (band,) = marks(planned.picture, "polygon", "band")
    lines = [r for r in table if r["variant"] == "as planned"]
    corners = [plot.at(r["epochs"], r["high"]) for r in lines] + [plot.at(r["epochs"], r["low"]) for r in lines[::-1]]
    drawn_at = [tuple(map(float, p.split(","))) for p in band["points"].split()]
    assert [v for p in drawn_at for v in p] == pytest.approx([v for p in corners for v in p], abs=0.06)
    label = ET.fromstring(str(planned.picture)).attrib["aria-label"]
    assert "30 rows at 3 (15 to 60)" in label


def test_what_if_without_intervals_says_so() -> None:
    table = what_if(("as planned",), interval=False).to_dicts()
    panel, _ = _curves.what_if_panels(table, 2.0, 16)
    assert panel is not None
    assert panel.title == "As planned"
    assert panel.told == "No interval is known."
    assert not marks(panel.picture, "polygon", "band")
    assert _curves.what_if_panels([], 3.0, 16) == []


def test_variants_at_one_number_of_epochs_stand_beside_one_another() -> None:
    table = what_if(("as planned", "after deduplication", HOSTILE)).to_dicts()
    table = [r for r in table if r["variant"] == "as planned" or r["epochs"] == 3]
    planned, figure = _curves.what_if_panels(table, 3.0, 16)
    assert planned is not None
    assert figure is not None
    assert figure.title == f"{HOSTILE}: 10 rows instead of 30"
    label = ET.fromstring(str(figure.picture)).attrib["aria-label"]
    assert "as planned: 30 rows (15 to 60); after deduplication: 15 rows (7.51 to 30)" in label
    plot = Plot(Scale(1, 100, "log"), Scale(0, 1), 380, 138, left=140, right=80)
    whiskers = marks(figure.picture, "polyline", "whisker")
    for i, (whisker, rows) in enumerate(zip(whiskers, (30.02, 15.02, 10.02), strict=True)):
        ends = [float(p.split(",")[0]) for p in whisker["points"].split()]
        wanted = [plot.at(rows / 2, 0)[0], plot.at(rows * 2, 0)[0]]
        assert ends == pytest.approx(wanted, abs=0.06), i
    alike = [{**r, "expected_rows": 5.0} for r in table]
    fewest = [{**alike[0], "expected_rows": 0.14}, {**alike[1], "expected_rows": 0.06}]  # both are shown as 0.1
    assert _curves.options(fewest, 16).title == "No other way to train would recite clearly fewer rows"  # type: ignore[union-attr]
    assert _curves.options(alike[:3], 16).title == "No other way to train would recite clearly fewer rows"  # type: ignore[union-attr]


def test_calibration_shows_its_bins() -> None:
    figure = _curves.calibration(BINS, "the rehearsal x", 16)
    assert figure is not None
    assert figure.title == "20 of 550 rows recited, 22 predicted", "0.5 + 12 + 9 predicted; 0 + 10 + 10 recited"
    error = (0.001 * 500 + 0.05 * 40 + 0.1 * 10) / 550
    assert f"expected calibration error {error:.3f}" in figure.told
    plot = Plot(Scale(0, 1, "root"), Scale(0, 1, "root"))
    dots = [(float(d["cx"]), float(d["cy"])) for d in marks(figure.picture, "circle", "main")]
    wanted = [plot.at(b["predicted"], b["observed"]) for b in BINS]
    assert [v for p in dots for v in p] == pytest.approx([v for p in wanted for v in p], abs=0.06)
    assert len(marks(figure.picture, "polyline", "whisker")) == 3
    assert _curves.calibration([], "nothing", 16) is None


def test_the_tests_of_a_calibration_are_drawn_with_the_error_they_found(drawn: RunFolder, page: str) -> None:
    text = Page(page).text
    assert f"On {HOSTILE}: expected calibration error" in text
    assert "On the last epoch: expected calibration error 0.020 (0.011 by chance alone). Points" in text
    scan = drawn.read_json("scan.json")
    scan["notes"]["prediction"]["evaluation"] = {"ahead": {}}  # a calibration of before its bins were kept
    assert len(_curves.gather(drawn, scan, ()).calibration) == 3, "those of the rehearsals alone"


def test_where_the_top_sits() -> None:
    n = 300
    rows = pl.DataFrame({
        "row_id": range(n), "copies_exact": [8] * 3 + [1] * (n - 3), "source": ["a.jsonl"] * 150 + [HOSTILE] * 150,
        "script.answer": ["Latin"] * n,
    })  # fmt: skip
    prediction = pl.DataFrame({
        "row_id": range(n), "expected_tokens": [50.0] * 3 + [1.0] * (n - 4) + [None], "taxon": ["recollect"] * n,
    })  # fmt: skip
    spans = pl.DataFrame({"row_id": [0, 7], "kind": ["private", "memorized"]})
    where = _top.where(rows, prediction, spans)
    assert where["rows"] == 3
    traits = {t["name"]: t for t in where["traits"]}
    assert traits["more than five exact copies"]["top_share"] == 1
    assert traits["more than five exact copies"]["all_share"] == pytest.approx(3 / 299)
    assert traits["private data or a secret"]["top_share"] == pytest.approx(1 / 3)
    assert "from a.jsonl" in traits
    assert not any(name.startswith("script") for name in traits), "there is one script only"
    figure = _curves.top(where)
    assert figure is not None
    assert figure.title == "All of the top 1 % of the rows (3) have more than five exact copies; 1 % of all rows do"
    longest = max(float(bar["width"]) for bar in marks(figure.picture, "rect", "bar"))
    assert longest == pytest.approx(380 - 168 - 70, abs=0.06)
    assert _top.where(rows, prediction.with_columns(expected_tokens=pl.lit(None)), spans) == {}
    assert _curves.top({}) is None


def test_the_title_of_the_doses_is_their_finding() -> None:
    bins = [{"from": 0.5, "to": 1.0, "mean": 0.002}, {"from": 1.0, "to": 2.0, "mean": 0.1},
            {"from": 128.0, "to": None, "mean": 0.99}]  # fmt: skip
    assert words.by_dose({"prediction": {"by_dose": bins}}) == (
        "99 % of the rows with a dose of 128 visits or more are predicted to be recited, and 0.2 % of those below 1"
    )


def test_scales_and_crossings() -> None:
    log, root = Scale(0.1, 1000, "log"), Scale(0, 1, "root")
    assert [log(v) for v in (0.0, 0.1, 10, 1000, 1e6)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert [root(v) for v in (-1.0, 0.25, 1.0)] == pytest.approx([0, 0.5, 1])
    assert between([(1, 100.0), (10, 1.0)], 10) == pytest.approx(10**0.5)
    assert between([(1, 100.0), (10, 1.0)], 0.5) is None
    assert decades(0.1, 100) == {0.1: "≤ 0.1", 1: "1", 10: "10", 100: "100"}
    assert [upper_decade(v) for v in (0.2, 10, 11, 1000)] == pytest.approx([10, 10, 100, 1000])


def test_outside_is_said_instead_of_a_number_that_looks_sure(drawn: RunFolder, page: str) -> None:
    text = Page(page).text
    summary = drawn.read_json("scan.json")["summary"]
    rows = words.about(summary["prediction"]["expected_rows_extracted"])
    measured = words.number(summary["prediction"]["rows_measured"])
    said = (
        f"Outside what was validated: how many of {measured} answers would be recited for 16 tokens or more "
        f"(extrapolated: {rows}, 90 % interval 9 to 240)."
    )
    assert said in text
    assert "are predicted to be recited for" not in text
    assert (
        "What lies outside: model size (7 B; trained and measured were 4.2 M), Chinese rows (200 of 300), "
        "12 epochs (validated up to 8) and 1 more. Neither the number of rows nor their order was "
        "ever checked for such a training. To measure it instead: scan rehearse on your base, then scan calibrate."
    ) in text
    assert "How far to trust these numbers" in text
    assert "number and order of rows: unchecked" in text
    assert "the heights of these curves are extrapolated" in text
    for name in ("terminal", "markdown"):
        shown = " ".join(render(drawn, name).decode().split())
        assert "utside what was validated: how many of" in shown
        assert "Chinese rows" in shown


def test_inside_is_said_with_its_interval(drawn: RunFolder) -> None:
    summary = drawn.read_json("scan.json")["summary"]
    summary["prediction"]["validity"] = {**VALIDITY, "severity": "inside", "statements": VALIDITY["statements"][4:]}
    assert "are predicted to be recited for 16 tokens or more, 90 % interval 9 to 240" in words.expectation(summary)
    assert trust.in_words(summary) == ["Trust the order of the rows more than the counts."]
    assert trust.in_words({**summary, "calibrated": True}) == []
    few = {**VALIDITY, "severity": "note", "statements": VALIDITY["statements"][1:2]}
    summary["prediction"]["validity"] = few
    assert trust.in_words(summary)[0] == "Outside what was validated: Chinese rows (200 of 300)."
    summary["prediction"]["validity"] = {**VALIDITY, "severity": "count", "statements": VALIDITY["statements"][2:]}
    assert words.calibration({**summary, "calibrated": True}).endswith("Trust the order of the rows, not the counts.")


MEASURE = """<script>
const found = [...document.querySelectorAll("figure")].map(figure => {
  const picture = figure.querySelector("svg"), box = picture.getBoundingClientRect();
  const out = [...picture.querySelectorAll("text")].filter(t => {
    const r = t.getBoundingClientRect(); return r.left < -1 || r.right > innerWidth + 1 });
  const small = [...picture.querySelectorAll("text")].filter(t => t.getBoundingClientRect().height < 8);
  const seen = getComputedStyle(picture.querySelector(".curve, .bar, .dot") || picture);
  return {width: box.width, height: box.height, out: out.length, small: small.length,
          paint: [seen.stroke, seen.fill], at: innerWidth, wide: document.documentElement.scrollWidth > innerWidth + 1};
});
parent.document.title = JSON.stringify(found);
</script></body>"""


@pytest.mark.parametrize("width", [1280, 400])
def test_pictures_are_visible_in_a_real_browser(page: str, tmp_path: Path, width: int) -> None:
    path = tmp_path / "measured.html"
    measured = re.sub(r"<meta http-equiv=[^>]*>", "", page).replace("</body>", MEASURE)
    # in a frame, because a headless window is never narrower than 500 px
    frame = f'<title></title><iframe width="{width}" height="900" frameborder="0" srcdoc="{escape(measured)}"></iframe>'
    path.write_text(frame, "utf-8")
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--window-size=1400,1000", f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title is not None
    found = json.loads(unescape(title[1]))
    assert len(found) == len(figures(page))
    for figure in found:
        assert figure["at"] == width
        assert figure["width"] >= 200
        assert figure["height"] >= 80
        assert figure["out"] == 0, "text runs out of the window"
        assert figure["small"] == 0, "text is too small to read"
        assert not figure["wide"], "the page scrolls sideways"
        assert figure["paint"] != ["none", "none"]
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
