"""A report with every wide table is as wide as the window: what needs more room scrolls by itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

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


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("narrow")
    files = []
    for name in (
        "answers-of-the-first-quarter-中文-已完成.jsonl",
        "answers_of_the_second_quarter_with_long_name.jsonl",
    ):
        asked = [WRAPPER.format(f"what does number {i} say of {'towns' if i % 2 else 'rivers'}?") for i in range(40)]
        rows = [
            {"instruction": q, "output": f"Of number {i} nothing at all is known to us here."}
            for i, q in enumerate(asked)
        ]
        files.append(folder / name)
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    settings = Settings(semantic=False, permutations=64, threads=1)
    run = pipeline.audit([str(file) for file in files], settings, folder / "both.scan")
    shown = render(run, "html").decode("utf-8")
    assert "not looked for: --no-semantic" in shown
    assert '<h3 id="templates">' in shown
    assert "in a source, by source</caption>" in shown
    return shown


@pytest.mark.parametrize("width", [390, 700, 1000])
def test_the_page_does_not_scroll_sideways(page: str, tmp_path: Path, width: int) -> None:
    measured = re.sub(r"<meta http-equiv=[^>]*>", "", page).replace("</body>", MEASURE)
    frame = f'<title></title><iframe width="{width}" height="900" frameborder="0" srcdoc="{escape(measured)}"></iframe>'
    (tmp_path / "measured.html").write_text(frame, "utf-8")
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--window-size=1400,1000", f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom", (tmp_path / "measured.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title is not None
    at, wide, tables, out = json.loads(unescape(title[1]))
    assert at == width
    assert tables > 5
    assert out == []
    assert wide <= width + 1
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
