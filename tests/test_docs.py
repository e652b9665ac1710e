"""The README is true: every command stands in it and has help, and what it shows exists."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import click
import polars as pl

import cli
from scanner import pipeline
from scanner.reports._content import PREDICTION_COLUMNS
from scanner.rulebook import bands
from scanner.settings import NEGATIONS, OF_ONE_COMMAND, Settings, TrainingPlan, read_settings_file

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    for name, command in cli.scan.commands.items():
        assert command.help, f"scan {name} has no help"
        assert f"`scan {name}" in README or name == "audit", f"scan {name} is not in the README"
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"scan {name} {option.opts[0]} has no help"


def test_every_column_of_a_prediction_stands_in_the_readme_with_the_bands() -> None:
    for column in (*PREDICTION_COLUMNS, "outside", "calibrated"):
        assert f"`{column}`" in README, f"{column} is not in the README"
    for band, least in bands().cuts:
        assert f"`{band}` from {f'{least:.2f}'.removeprefix('0')}" in README


def test_every_column_of_a_run_is_told(tmp_path: Path) -> None:
    """In the README; those of rows.parquet that are called family.name in the file of that family."""
    row = {"instruction": "Whom to ask?", "output": "Ask jane.roe@roe-clinic.net for it, please.", "note": "by the way"}
    (tmp_path / "d.jsonl").write_text(2 * (json.dumps(row) + "\n"), "utf-8")
    run = pipeline.audit([str(tmp_path / "d.jsonl")], Settings(), tmp_path / "d.scan").path
    untold = []
    for table in run.glob("*.parquet"):
        for column in pl.read_parquet_schema(table):
            family, _, name = column.rpartition(".")
            file = ROOT / "scanner" / ("contextual.py" if family == "contexts" else f"features/{family}.py")
            told = file.read_text("utf-8") if family else README
            if not re.search(rf"\b{name}\b" if family else rf"`{column}`", told):
                untold.append((table.stem, column))
    assert len(list(run.glob("*.parquet"))) >= 9
    assert not untold


def test_every_option_that_the_readme_names_exists() -> None:
    known = {
        name for command in cli.scan.commands.values() for p in command.params for name in (*p.opts, *p.secondary_opts)
    }
    known |= {name for p in cli.scan.params for name in p.opts} | {"--help", "--version"}
    for option in set(re.findall(r"(?<![\\w-])(--[a-z][a-z-]+)", README)) - {"--constraint"}:  # that one is pip's
        assert option in known, f"the README names {option}, which no command has"


def test_a_settings_file_may_hold_every_option_of_an_audit_but_those_it_names() -> None:
    own = {f.name for owner in (Settings, TrainingPlan) for f in fields(owner)}
    called = {name.lstrip("-").replace("-", "_") for p in cli.audit.params[1:] for name in (*p.opts, *p.secondary_opts)}
    called -= {"q"}
    assert called - own == {"eval", *NEGATIONS, *OF_ONE_COMMAND}
    for option in OF_ONE_COMMAND:
        assert f"`--{option.replace('_', '-')}`" in README


def test_every_option_that_a_message_names_exists() -> None:
    known = {
        name for command in cli.scan.commands.values() for p in command.params for name in (*p.opts, *p.secondary_opts)
    }
    checked_only = {"--permutations"}  # a setting that no option sets
    for path in [ROOT / "cli.py", *(ROOT / "scanner").rglob("*.py"), *(ROOT / "scanner").rglob("*.j2")]:
        named = set(re.findall(r"(?<![\\w-])(--[a-z][a-z-]+)", path.read_text("utf-8")))
        assert named - known - checked_only <= {"--help", "--version", "--debug"}, path.name


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8")))
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", title)).strip().lower().replace(" ", "-")
        for title in titles
    }


def test_every_file_and_heading_that_a_page_links_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "benchmarks").rglob("*.md"), *(ROOT / "rules").rglob("*.md")]
    for page in pages:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text("utf-8")):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(linked), f"{page}: {target}#{anchor}"


def test_every_law_that_the_code_names_stands_among_the_laws() -> None:
    laws = ROOT / "benchmarks" / "prediction" / "LAWS.md"
    known = set(re.findall(r"(?m)^(\d+)\. ", laws.read_text("utf-8")))
    named = [
        n for path in (ROOT / "scanner").rglob("*.py") for n in re.findall(r"LAWS\.md, (\d+)", path.read_text("utf-8"))
    ]
    assert named
    assert set(named) <= known


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_scan_toml_of_the_readme_is_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.S)
    (tmp_path / "scan.toml").write_text(block, "utf-8")
    given = read_settings_file(tmp_path / "scan.toml")
    assert Settings().changed(**given).plan.lr_schedule == "cosine"


def test_the_defaults_in_the_help_are_those_that_are_used() -> None:
    settings = Settings()
    used = {
        "source_weight": 1,
        "micro_batch": "the whole step",
        "goldfish_k": "all are in",
        "layout": "found automatically",
        "header": "found automatically",
        "embedder": "the shipped static table",
        "threads": "all cores",
        "out": "<stem>.scan",
    }
    assert settings.threads == 0
    told = set()
    for option in cli.scan.commands["audit"].params:
        found = re.search(r"\[([^\]]+)\]\.$", getattr(option, "help", None) or "")
        value = used.get(option.name, getattr(settings, option.name, getattr(settings.plan, option.name, None)))
        if isinstance(option, click.Option) and option.secondary_opts and option.name not in used:
            value = (option.opts if value else option.secondary_opts)[0].removeprefix("--")
        if value not in (None, ()):
            assert found, f"--{option.name}: the help does not say that the default is {value}"
            known = found[1] == value if isinstance(value, str) else float(found[1]) == value
            assert known, f"--{option.name}: the help says {found[1]}, and {value} is used"
            told.add(option.name)
    assert {"epochs", "cosine", "text", "semantic", "drop_semantic", "jaccard"} <= told
