"""A report with every wide table is as wide as the window: what needs more room scrolls by itself, and what is short
stays on one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from browsing import browser

from scanner import pipeline
from scanner.reports import render
from scanner.settings import Settings

WRAPPER = (
    "Below is a request from one of our readers, who waits for a friendly and short answer of ours: {} Our answer:"
)
MEASURE = """<script>
const tables = [...document.querySelectorAll("table")];
const out = tables.filter(t => t.getBoundingClientRect().right > innerWidth + 1).map(t => t.caption.textContent);
parent.document.title = JSON.stringify([innerWidth, document.documentElement.scrollWidth, tables.length, out]);
</script></body>"""
BROKEN = r"""<script>
const found = [], broken = new Set(), range = document.createRange();
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; node = texts.nextNode();)
  for (const option of node.data.matchAll(/(?<![\w-])--[a-z][a-z-]{0,26}[a-z](?![\w-])/g)) found.push([node, option]);
for (let width = 340; width <= 440; width++) {
  frameElement.width = width;
  for (const [node, option] of found) {
    range.setStart(node, option.index);
    range.setEnd(node, option.index + option[0].length);
    if (new Set([...range.getClientRects()].map(line => line.top)).size > 1) broken.add(option[0]);
  }
}
parent.document.title = JSON.stringify([innerWidth, found.map(each => each[1][0]), [...broken]]);
</script></body>"""
FIRST = "answers --drop-near of-the-first-quarter-中文-已完成.jsonl"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("narrow")
    files = []
    for name in (
        FIRST,
        "answers_of_the_second_quarter_with_long_name.jsonl",
    ):
        asked = [WRAPPER.format(f"what does number {i} say of {'towns' if i % 2 else 'rivers'}?") for i in range(40)]
        rows = [
            {"instruction": q, "output": f"Of number {i} nothing at all is known to us here, --{'not-' * 30}even."}
            for i, q in enumerate(asked)
        ]
        files.append(folder / name)
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    settings = Settings(semantic=False, permutations=64, threads=1)
    run = pipeline.audit([str(file) for file in files], settings, folder / "both.scan")
    shown = render(run, "html").decode("utf-8")
    assert 'not looked for: <span class="option">--no-semantic</span>' in shown
    assert '<h3 id="templates">' in shown
    assert "in a source, by source</caption>" in shown
    return shown


def measured(page: str, script: str, width: int, folder: Path) -> list[Any]:
    """What a script says of the page in a window of this width."""
    scripted = re.sub(r"<meta http-equiv=[^>]*>", "", page).replace("</body>", script)
    frame = f'<title></title><iframe width="{width}" height="900" frameborder="0" srcdoc="{escape(scripted)}"></iframe>'
    (folder / "measured.html").write_text(frame, "utf-8")
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--window-size=1400,1000", f"--user-data-dir={folder / 'profile'}",
        "--dump-dom", (folder / "measured.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title is not None
    shutil.rmtree(folder / "profile", ignore_errors=True)
    said: list[Any] = json.loads(unescape(title[1]))
    return said


@pytest.mark.parametrize("width", [390, 700, 1000])
def test_the_page_does_not_scroll_sideways(page: str, tmp_path: Path, width: int) -> None:
    at, wide, tables, out = measured(page, MEASURE, width, tmp_path)
    assert at == width
    assert tables > 5
    assert out == []
    assert wide <= width + 1


def test_options_stay_on_one_line_on_a_phone(page: str, tmp_path: Path) -> None:
    """At every width between 340 and 440 pixels: where a line ends differs from one to the next."""
    at, found, broken = measured(page, BROKEN, 390, tmp_path)
    assert at == 440
    assert {"--drop-near", "--no-semantic", "--confirm-recall"} <= set(found)
    assert broken == []


def test_options_are_marked_only_where_an_element_may_stand(page: str) -> None:
    assert f"<title>{FIRST}" in page
    assert 'class="option">--not-not' not in page  # too long to stay on one line
    assert "--not-not" in page
    assert not re.search(r"<[^<>]*<span", page)
