"""The page: its policy, its structure, hostile text, its size, and a real browser."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from pathlib import Path

import polars as pl
import pytest
import synthetic
from browsing import Page, browser

from scanner import rulefiles
from scanner.reports import _words, render
from scanner.store import RunFolder

SECTIONS = [
    "found", "memorized", "rows", "duplicates", "passages", "private", "conflicts", "relations", "plan", "method",
    "terms",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(demo: RunFolder) -> str:
    return render(demo, "html").decode()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = synthetic.small()
    made.notes, made.whatif = {}, False
    return render(synthetic.write(made, tmp_path_factory.mktemp("bare") / "bare.scan"), "html").decode()


def test_policy_allows_only_this_style_sheet(page: str) -> None:
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policies = [m["content"] for m in Page(page).all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


def test_nothing_is_loaded_or_run(page: str) -> None:
    parsed = Page(page)
    assert not parsed.all("script")
    assert not parsed.all("img")
    assert not parsed.all("iframe")
    loose = [a for _, attributes in parsed.elements for a in attributes if a == "style" or a.startswith("on")]
    assert not loose, "inline styles and handlers are refused by the policy"
    assert all((a["href"] or "").startswith("#") for a in parsed.all("a"))
    assert "url(" not in page
    assert "@import" not in page


def test_structure(page: str) -> None:
    parsed = Page(page)
    assert not parsed.unbalanced
    assert not parsed.opened
    assert [s["id"] for s in parsed.all("section")] == SECTIONS
    assert len(parsed.all("h1")) == 1
    assert len(parsed.all("h2")) == len(SECTIONS)
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    assert all(chart.get("aria-label") or chart.get("aria-hidden") for chart in parsed.all("svg"))
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(a["href"] or "")[1:] for a in parsed.all("a")}
    assert targets <= set(ids)


def test_same_columns_for_no_findings_and_many(page: str, bare: str) -> None:
    def heads(text: str) -> list[str]:
        return re.findall(r'<th[^>]*scope="col"[^>]*>(.*?)</th>', text)

    assert heads(page) == heads(bare)
    assert [s["id"] for s in Page(bare).all("section")] == SECTIONS
    kinds = re.findall(r'<th scope="row">([^<]+)</th>', page)[:7]
    assert re.findall(r'<th scope="row">([^<]+)</th>', bare)[:7] == kinds


def test_says_what_was_planted(demo: RunFolder, page: str) -> None:
    text = Page(page).text
    found = demo.read_json("scan.json")["summary"]["found"]
    assert "Do not train on this data set as it is: it holds private data and secrets that a model may recite." in text
    assert f"exact copies {found['exact']['rows']} " in text
    assert "predictions were not validated on this data; weights from a small rehearsal" in text
    assert "[EMAIL]" in text
    assert "scan apply" in text
    assert "equal tokens" in text, "no side-by-side difference"
    expected = float(demo.read_table("prediction")["p_extract"].fill_nan(None).sum())
    assert f"{_words.about(expected)} rows expected" in text, "no tail"


def test_hostile_text_stays_text(page: str) -> None:
    assert "&lt;script&gt;document.title=" in page
    assert "<script>" not in page
    assert "onerror=&#34;alert(1)&#34;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\x00" not in page
    assert "␛[31mred" in page


def test_size_is_bounded(tmp_path: Path) -> None:
    made = synthetic.small(400)
    long = " ".join(f"long{i}" for i in range(4000))
    for row_id in range(0, 200, 2):
        made.texts[row_id] = made.texts[row_id + 1] = (f"{row_id} {long}", "", f"{long} {row_id}")
        made.pairs.append((row_id, row_id + 1, "minhash", "near", 0.95))
        made.clusters.append([row_id, row_id + 1])
    page = render(synthetic.write(made, tmp_path / "large.scan"), "html")
    assert len(page) < 400_000
    text = Page(page.decode()).text
    assert "Showing 20 of 100 clusters" in text
    assert "beginnings only" in text


def look(path: Path, profile: Path) -> tuple[str, str]:
    """The page's document after loading, and what the browser complained about."""
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", f"--user-data-dir={profile}", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_real_browser_has_nothing_to_refuse(tmp_path: Path, page: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(page, "utf-8")
    document, console = look(path, tmp_path / "profile")
    assert not console, console
    title = re.search(r"<title>(.*?)</title>", document)
    assert title is not None
    assert title[1] == "demo.jsonl: what a fine-tune would memorize"
    assert Page(document).text == Page(page).text


def test_real_browser_enforces_the_policy(tmp_path: Path, page: str) -> None:
    """The same page with a script and a changed style sheet: both are refused, and the listener hears it."""
    tampered = page.replace("</style>", "h1 { color: red }</style>", 1)
    tampered = tampered.replace("</body>", "<script>document.title = 'owned'</script></body>")
    path = tmp_path / "tampered.html"
    path.write_text(tampered, "utf-8")
    document, console = look(path, tmp_path / "profile")
    assert "<title>owned</title>" not in document
    assert "inline script" in console
    assert "inline style" in console


def test_beside_what_was_found_stands_what_was_not_looked_for(page: str, bare: str) -> None:
    for text in (page, bare):
        section = text[text.index('<section id="private">') : text.index('<section id="plan">')]
        assert "Not looked for is what no rule describes, such as names, street addresses, birth dates, driv" in section


def test_beside_each_kind_of_finding_stands_what_to_do_and_where_its_rule_errs(demo: RunFolder, page: str) -> None:
    shown = Page(page).text
    found = demo.read_table("spans").filter(pl.col("kind").is_in(["private", "secret"]))["rule_id"].unique().to_list()
    known = {name: said for name in found if (said := rulefiles.said_of(name)) is not None}
    assert len(known) >= 3
    assert len(found) > len(known)  # findings of rules whose file is gone stand there too
    for said in known.values():
        assert shown.count(f"{said.advice} Known problems: {said.known_problems}") == 1
