"""The command line as a user meets it: exit codes, messages, what is printed and what is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from readied import scan

ROOT = Path(__file__).resolve().parents[1]


def rows(count: int) -> list[dict[str, str]]:
    """Distinct rows, with one exact copy and one private span."""
    made = [
        {
            "instruction": f"Explain item {i} of the list in the words of a {('cook', 'pilot', 'nurse')[i % 3]}.",
            "input": "",
            "output": f"Item {i} stands at shelf {i * 7 % 91}; "
            + " ".join(f"word{(i * 31 + j * 17) % 997}" for j in range(24))
            + ".",
        }
        for i in range(count)
    ]
    made[5] = dict(made[2])
    made[7]["output"] += " Write to jane.roe@roe-clinic.net for more."
    return made


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data.jsonl and its finished run data.scan."""
    folder = tmp_path_factory.mktemp("audited") / "in [brackets]*"  # no pattern, only a name
    folder.mkdir()
    (folder / "data.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(60)), "utf-8")
    done = scan("data.jsonl", "--epochs", "8", "--learning-rate", "3e-4", "--model-params", "5M", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_help_names_every_command(tmp_path: Path) -> None:
    done = scan("--help", cwd=tmp_path)
    for command in ("apply", "audit", "explain", "plan", "purge", "report", "rules", "verify"):
        assert command in done.stdout


def test_audit_prints_one_screen_and_writes_the_run(audited: Path) -> None:
    run = audited / "data.scan"
    assert (run / "report.html").exists()
    facts = json.loads((run / "scan.json").read_text())
    assert (facts["rows_read"], facts["rows_skipped"]) == (60, 0)
    again = scan("data.jsonl", "--epochs", "8", "--learning-rate", "3e-4", "--model-params", "5M", cwd=audited)
    assert again.returncode == 0
    assert "holds this audit already" in again.stderr
    assert "exact copies" in again.stdout
    assert "scan apply data.scan" in again.stdout
    assert len(again.stdout.splitlines()) <= 48
    assert "roe-clinic" not in again.stdout + again.stderr


def test_another_input_in_the_same_folder_is_refused(audited: Path) -> None:
    done = scan("data.jsonl", "--epochs", "1", cwd=audited)
    assert done.returncode == 1
    assert "data.scan holds a run of another input or other settings" in done.stderr
    assert "use --force to replace it" in done.stderr
    assert "Traceback" not in done.stderr


def test_fix_shows_the_screen_and_what_was_written_even_where_the_plan_is_not_applied(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(9)), "utf-8")
    done = scan("d.jsonl", "--no-semantic", "--fix", "c.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "c.jsonl: 8 rows, 1 of them redacted; 1 dropped.\nwhy each row went: c.jsonl.removed.jsonl" in done.stdout
    assert "scan apply" not in done.stdout
    done = scan("d.jsonl", "--no-semantic", "--force", "--max-removal-share", "0", "--fix", "x.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "Drop 1 · redact 1" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: the plan would drop 1 of 9 rows")
    assert not (tmp_path / "x.jsonl").exists()


def test_apply_writes_what_the_plan_says(audited: Path) -> None:
    done = scan("apply", "data.scan", "-o", "clean.jsonl", cwd=audited)
    assert done.returncode == 0, done.stderr
    before = (audited / "data.jsonl").read_bytes().splitlines()
    after = (audited / "clean.jsonl").read_bytes().splitlines()
    plan = pl.read_parquet(audited / "data.scan" / "plan.parquet", glob=False)
    actions = dict(plan.select("row_id", "action").iter_rows())
    assert actions[5] == "drop"
    assert actions[7] == "redact"
    assert [b for i, b in enumerate(before) if actions[i] not in ("drop", "redact")] == [
        a for a in after if b"[EMAIL" not in a
    ]
    assert b"roe-clinic" not in b"".join(after)
    removed = [json.loads(line) for line in (audited / "clean.jsonl.removed.jsonl").read_text().splitlines()]
    assert [(r["row_id"], r["keep_row_id"], r["rule_id"]) for r in removed] == [(5, 2, "duplicates/exact")]
    manifest = json.loads((audited / "clean.jsonl.manifest.json").read_text())
    assert manifest["rows_kept"] == 59
    told, command = done.stdout.splitlines()[-1].split(": scan ")
    assert told == "prove that nothing masked is left"
    checked = scan(*shlex.split(command), cwd=audited)
    assert checked.returncode == 0
    assert "the one private value that the audit found does not stand in its 59 rows" in checked.stdout
    left = scan("verify", "data.jsonl", "data.scan", cwd=audited)
    assert left.returncode == 1
    assert "private values are left in 1 row (line 8)" in left.stderr


def test_apply_refuses_a_changed_input(audited: Path, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(30)), "utf-8")
    assert scan("d.jsonl", "-q", "--no-semantic", cwd=tmp_path).returncode == 0
    with (tmp_path / "d.jsonl").open("a") as file:
        file.write(json.dumps(rows(9)[0]) + "\n")
    done = scan("apply", "d.scan", "-o", "c.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "changed since the audit" in done.stderr
    (tmp_path / "d.jsonl").unlink()
    done = scan("apply", "d.scan", "-o", "c.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "d.jsonl is no longer there, and the cleaned data is made from it; bring it back, or audit" in done.stderr
    assert not (tmp_path / "c.jsonl").exists()


def test_plan_judges_again_without_reading(audited: Path, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(30)), "utf-8")
    assert scan("d.jsonl", "-q", "--no-semantic", cwd=tmp_path).returncode == 0
    before = pl.read_parquet(tmp_path / "d.scan" / "plan.parquet")
    (tmp_path / "d.jsonl").unlink()
    assert scan("plan", "d.scan", "-q", cwd=tmp_path).returncode == 0
    assert pl.read_parquet(tmp_path / "d.scan" / "plan.parquet").equals(before)
    masked = scan("plan", "d.scan", "--no-redact", "-q", cwd=tmp_path)
    assert masked.returncode == 0
    again = pl.read_parquet(tmp_path / "d.scan" / "plan.parquet")
    assert again.filter(pl.col("action") == "redact").is_empty()
    assert again.filter(pl.col("loss_mask").list.len() > 0)["row_id"].to_list() == [7]
    low = scan("plan", "d.scan", "--jaccard", "0.3", cwd=tmp_path)
    assert low.returncode == 2
    assert "--jaccard" in low.stderr


def test_explain_report_rules_and_purge(audited: Path, tmp_path: Path) -> None:
    told = scan("explain", "data.scan", "5", cwd=audited)
    assert told.returncode == 0, told.stderr
    assert "2" in told.stdout
    assert not re.search(r" \n", told.stdout)
    unknown = scan("explain", "data.scan", "4711", cwd=audited)
    assert unknown.returncode == 1
    assert "Traceback" not in unknown.stderr
    for name, ending in (("json", "json"), ("markdown", "md"), ("sarif", "sarif")):
        made = scan("report", "data.scan", "--format", name, cwd=audited)
        assert made.returncode == 0, made.stderr
        assert made.stdout.strip().endswith(ending)
    wrong = scan("report", "data.scan", "--format", "htm", cwd=audited)
    assert wrong.returncode == 2
    assert "Did you mean 'html'?" in wrong.stderr
    assert "private/email" in scan("rules", cwd=audited).stdout
    assert "  problems   Quiet on purpose" in scan("rules", "private/email", cwd=audited).stdout
    assert "Did you mean 'private/email'?" in scan("rules", "email", cwd=audited).stderr
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(20)), "utf-8")
    assert scan("d.jsonl", "-q", "--no-semantic", cwd=tmp_path).returncode == 0
    assert scan("purge", "d.scan", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "d.scan" / "private").exists()
    gone = scan("apply", "d.scan", "-o", "c.jsonl", cwd=tmp_path)
    assert gone.returncode == 1
    assert "purged" in gone.stderr


def test_gate_and_usage_exit_codes(audited: Path) -> None:
    gated = scan(
        "data.jsonl",
        "--epochs",
        "60",
        "--learning-rate",
        "3e-3",
        "--fail-on",
        "low",
        "-q",
        "--out",
        "gated.scan",
        cwd=audited,
    )
    assert gated.returncode == 3
    assert "gate --fail-on low tripped" in gated.stderr
    assert scan("data.jsonl", "--batching", "clever", cwd=audited).returncode == 2
    assert scan("data.jsonl", "--floor", "0.9", cwd=audited).returncode == 2
    missing = scan("nothing.jsonl", cwd=audited)
    assert missing.returncode == 1
    assert "nothing.jsonl" in missing.stderr


def test_standard_input_and_settings_file(tmp_path: Path) -> None:
    data = "".join(json.dumps(r) + "\n" for r in rows(20)).encode()
    piped = scan("-", "-q", "--no-semantic", cwd=tmp_path, stdin=data)
    assert piped.returncode == 0, piped.stderr
    assert json.loads((tmp_path / "stdin.scan" / "scan.json").read_text())["rows_read"] == 20
    refused = scan("-", "-q", "--no-semantic", cwd=tmp_path, stdin=data[: len(data) // 2])
    assert "holds a run of another input" in refused.stderr
    assert (tmp_path / "stdin.scan" / "private" / "stdin.jsonl").read_bytes() == data  # the refused text left no trace
    assert not list(tmp_path.glob(".tmp-*"))
    again = scan("-", "-q", "--no-semantic", "--force", cwd=tmp_path, stdin=data[: data.index(b"\n", 500) + 1])
    assert again.returncode == 0, again.stderr
    (tmp_path / "d.jsonl").write_bytes(data)
    (tmp_path / "scan.toml").write_text("epochs = 5\nsemantic = false\n")
    assert scan("d.jsonl", "-q", cwd=tmp_path).returncode == 0
    facts = json.loads((tmp_path / "d.scan" / "scan.json").read_text())
    assert facts["training_plan"]["epochs"] == 5
    (tmp_path / "scan.toml").write_text("epoch = 5\n")
    wrong = scan("d.jsonl", "--force", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "unknown entries epoch" in wrong.stderr


def test_a_misspelt_command_is_told(audited: Path) -> None:
    done = scan("aply", "data.scan", "-o", "x.jsonl", cwd=audited)
    assert (done.returncode, "neither a file nor a command 'aply'. Did you mean 'apply'?" in done.stderr) == (2, True)


@pytest.mark.parametrize("before", [(), ("--",), ("audit",), ("duplicates",)])
def test_a_name_that_begins_with_a_dash_is_taken_for_one_where_it_is_no_option(tmp_path: Path, before) -> None:
    for name in ("-d.jsonl", "--data"):
        done = scan(*before, name, "--quiet", cwd=tmp_path)
        assert (done.returncode, "is a file or a folder" in done.stderr) == (2, name == "-d.jsonl"), done.stderr
        (tmp_path / name).write_text("".join(json.dumps(r) + "\n" for r in rows(9)), "utf-8")
        done = scan(*before, name, "--quiet", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].endswith(f"If {name} is a file or a folder, write ./{name}")
    done = scan("d.jsonl", "--epochz", "3", "--learning-rate=2e-5", cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == "Error: No such option '--epochz'. Did you mean '--epochs'?"


def test_an_option_of_audits_is_told_as_such_to_who_judges_a_run_again(tmp_path: Path) -> None:
    done = scan("plan", "data.scan", "--max-length", "512", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "Error: No such option '--max-length'. It is an option of audits, which measure what it changes: "
        "`scan DATASET --max-length ...`, with --force to replace a run",
    )


def test_the_run_of_a_file_whose_name_begins_with_a_dash_can_be_named_plainly(tmp_path: Path) -> None:
    (tmp_path / "-d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(9)), "utf-8")
    assert scan("./-d.jsonl", "-q", "--no-semantic", cwd=tmp_path).returncode == 0
    assert scan("explain", "d.scan", "3", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_batch_system_that_ends_it_leaves_no_text_behind(tmp_path: Path, name: str) -> None:
    command, pipe = [sys.executable, str(ROOT / "cli.py"), "-", "--no-semantic"], subprocess.PIPE

    def heard() -> None:  # what started the tests may ignore the signal (nohup), and a process inherits that
        signal.signal(getattr(signal, name), signal.SIG_DFL)

    with subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stderr=pipe, preexec_fn=heard) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"instruction": "private", "output": "text"}\n')
        process.stdin.flush()
        while not list(tmp_path.glob(".tmp-*/*")):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)  # it waits for more
        process.send_signal(getattr(signal, name))
        try:
            assert process.wait(30) == 1
        finally:
            process.kill()
        assert process.stderr is not None
        assert "interrupted; run the same command again" in process.stderr.read().decode()
    assert not list(tmp_path.iterdir())


def test_dry_run_estimates_and_writes_nothing(audited: Path) -> None:
    before = sorted(p.name for p in audited.iterdir())
    done = scan("data.jsonl", "--dry-run", cwd=audited)
    assert done.returncode == 0, done.stderr
    assert "60 records" in done.stdout
    assert sorted(p.name for p in audited.iterdir()) == before


def test_a_damaged_run_folder_gives_a_message_and_the_data_stay_unseen(audited: Path, tmp_path: Path) -> None:
    shutil.copytree(audited / "data.scan", tmp_path / "data.scan")
    (tmp_path / "data.jsonl").write_bytes((audited / "data.jsonl").read_bytes())
    pl.DataFrame({"jane.roe@roe-clinic.net": [1]}).write_parquet(tmp_path / "data.scan" / "rows.parquet")
    done = scan("explain", "data.scan", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a fault of sftscan (ColumnNotFoundError at ")
    assert "roe-clinic" not in done.stderr
    assert "Traceback" in scan("--debug", "explain", "data.scan", "3", cwd=tmp_path).stderr
    (tmp_path / "data.scan" / "scan.json").write_text("{")
    done = scan("plan", "data.scan", "--keep", "2", cwd=tmp_path)
    assert done.stderr.endswith("scan.json is damaged or cut short (JSONDecodeError); copy the run folder again, or "
                                "audit again with --force\n")  # fmt: skip
    done = scan("data.jsonl", "--force", "--no-semantic", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_duplicates_alone_leave_nothing_but_what_was_asked_for(tmp_path: Path) -> None:
    lines = "".join(json.dumps(r) + "\n" for r in rows(30))
    (tmp_path / "d.jsonl").write_text(lines, "utf-8")
    done = scan("duplicates", "d.jsonl", "-o", "new/clusters.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 rows (6.7 %) in 1 cluster of copies and near copies (Jaccard 0.8 or more)" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.jsonl", "new"]
    (tmp_path / "scan.toml").write_text('keep-policy = "first"\n')
    piped = scan("duplicates", "-", cwd=tmp_path, stdin=lines.encode())
    assert "rows: 2, 5 of stdin" in piped.stdout
    low = scan("duplicates", "d.jsonl", "--jaccard", "0.3", cwd=tmp_path)
    assert (low.returncode, low.stderr.splitlines()[-1][:44]) == (2, "error: --floor is 0.5, above --jaccard 0.3; ")
    wrong = scan("duplicates", "gone.jsonl", "-o", "pairs.txt", cwd=tmp_path)
    assert wrong.stderr.endswith("error: pairs.txt: expected a name that ends in .parquet or .csv\n")


def test_an_interruption_before_the_program_is_loaded_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click_default_group.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "--help"], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: interrupted; run the same command again to go on\n")


def test_a_process_short_of_addresses_is_told_before_and_after_they_run_out(audited: Path) -> None:
    pytest.importorskip("resource")
    code = (
        "import cli, resource; from scanner import inputs\n"
        "def fail(*_): raise MemoryError\n"
        "inputs.sha256_of = fail\n"
        "resource.getrlimit = lambda what: (1 << 30, 1 << 30)\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "data.jsonl", "--out", "never.scan"],
        cwd=audited, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    said = "the address space of this process is limited to 1.1 GB, and an audit takes about 3.3 GB"
    assert done.returncode == 1
    assert done.stderr.count(said) == 2
    assert done.stderr.splitlines()[-1].startswith("error: out of memory; the address space")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_named(audited: Path, tmp_path: Path) -> None:
    code = (
        "import cli, sys; from scanner import store; write = store.Path.write_bytes\n"
        "store.Path.write_bytes = lambda path, content: write(store.Path('/dev/full'), content)\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "data.scan", "-o", str(tmp_path / "lsh.pickle")],
        cwd=audited, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    told = f"error: no space is left on the disk (writing {tmp_path / 'lsh.pickle'}); free some and run the same"
    assert done.stderr.splitlines()[-1].startswith(told)
    assert not (tmp_path / "lsh.pickle").exists()
