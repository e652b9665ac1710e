"""The proof that a cleaned file holds nothing private: it says no more than it looked at."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import item

from scanner import pipeline
from scanner.errors import ScanError
from scanner.settings import Settings
from scanner.store import RunFolder

MAIL = "jane.roe@roe-clinic.net"
SETTINGS = Settings().changed(semantic=False)


def cleaned(folder: Path, lines: list[str]) -> tuple[Path, Path]:
    """The cleaned file and the run of a JSONL file with these lines."""
    (folder / "d.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    run = pipeline.audit([str(folder / "d.jsonl")], SETTINGS, folder / "d.scan").path
    pipeline.apply(run, folder / "clean.jsonl")
    return folder / "clean.jsonl", run


def test_what_stands_under_the_first_of_two_equal_keys_goes(tmp_path):
    hidden = json.dumps(item(2, output=f"Ask {MAIL}."))[:-1] + ', "output": "Much better so."}'
    deep = json.dumps(item(3))[:-1] + f', "meta": {{"a": "{MAIL}", "a": "x"}}}}'
    clean, run = cleaned(tmp_path, [json.dumps(item(0)), hidden, deep, json.dumps(item(5, output=f"Ask {MAIL}."))])
    text = clean.read_text("utf-8")
    assert MAIL not in text
    assert text.startswith(json.dumps(item(0)) + "\n")
    assert [json.loads(line)["output"] for line in text.splitlines()][1::2] == ["Much better so.", "Ask [EMAIL_1]."]
    manifest = json.loads((tmp_path / "clean.jsonl.manifest.json").read_text("utf-8"))
    assert (manifest["rows_redacted"], manifest["rows_rewritten"]) == (1, 2)
    proved, not_proved = pipeline.verify(clean, run).in_words().split("\n")
    assert proved.endswith(
        "the one private value that the audit found does not stand in its 4 rows, in any field, and none of the 27 "
        "rules finds anything there"
    )
    assert not_proved.startswith("Not looked for is what no rule describes, such as names, street addresses")


def test_of_a_run_without_private_values_nothing_is_claimed_of_them(tmp_path):
    clean, run = cleaned(tmp_path, [json.dumps(item(i)) for i in range(3)])
    assert (
        pipeline.verify(clean, run)
        .in_words()
        .startswith(
            f"{clean}: the audit found no private value, so there was none to look for, and none of the 27 rules finds "
            "anything in its 3 rows, in any field\nNot looked for is "
        )
    )


@pytest.mark.parametrize("escaped", [False, True])
def test_a_value_in_an_unread_field_of_another_row_is_found(tmp_path, escaped):
    mail = "jürgen.roe@roe-clinic.net" if escaped else MAIL
    meta = json.dumps(item(4, meta={"author": f"by {mail}"}), ensure_ascii=escaped)
    lines = [*(json.dumps(item(i)) for i in range(3)), json.dumps(item(7, output=f"Ask {mail} for it.")), meta]
    clean, run = cleaned(tmp_path, lines)
    pipeline.verify(clean, run)
    text = clean.read_text("utf-8")
    assert "by [EMAIL_1]" in text
    clean.write_text(text.replace("by [EMAIL_1]", json.dumps(mail, ensure_ascii=escaped)[1:-1]), "utf-8")
    with pytest.raises(ScanError, match=r"in 1 row \(line 5\), in fields that no trainer reads \(author\); apply"):
        pipeline.verify(clean, run)


def test_part_of_a_longer_word_or_number_is_no_value(tmp_path):
    said = ["Her phone is 780 6326 now.", "Nothing.", "The serial is 1780 63261 or x780 6326y."]
    lines = [json.dumps(item(i, output=text)) for i, text in enumerate(said)]
    clean, run = cleaned(tmp_path, [*lines, json.dumps(item(7, output="电话是780 6326。或者780 6326吧"))])
    outputs = [json.loads(line)["output"] for line in clean.read_text("utf-8").splitlines()]
    assert outputs == ["Her phone is [PHONE_1] now.", *said[1:], "电话是[PHONE_1]。或者[PHONE_1]吧"]
    assert pipeline.verify(clean, run).values == 1


def test_a_password_that_is_a_word_is_told_apart(tmp_path):
    said = "Your name is Joe Roe and your password is Sommer!Regen."
    clean, run = cleaned(tmp_path, [json.dumps(item(0)), json.dumps(item(1, output=said)), json.dumps(item(2))])
    assert "Sommer" not in clean.read_text("utf-8")
    found = pipeline.verify(clean, run)
    assert (found.values, found.words) == (0, 1)
    assert (
        "the one private value that the audit found is too plain to be looked for alone, such as a password that is a "
        "word; but none of the 27 rules finds anything in its 3 rows"
    ) in found.in_words()
    assert "in any field, and none of the 27 rules finds anything there; 1 further value too plain" in (
        replace(found, values=3).in_words()
    )


def test_nothing_is_proved_of_records_that_cannot_be_read(tmp_path):
    clean, run = cleaned(tmp_path, [json.dumps(item(i)) for i in range(3)])
    with clean.open("a") as file:
        file.write(f'{{"output": "{MAIL}\n')
    with pytest.raises(ScanError, match=r"1 record could not be read, so that nothing is proved .*clean\.jsonl:4\)"):
        pipeline.verify(clean, run)


def test_records_of_json_in_one_line_are_told_by_their_numbers(tmp_path):
    data = [item(n) for n in range(9)]
    (tmp_path / "d.json").write_text(json.dumps(data), "utf-8")
    run = pipeline.audit([str(tmp_path / "d.json")], SETTINGS, tmp_path / "d.scan").path
    dirty = tmp_path / "dirty.json"
    dirty.write_text(json.dumps([*data[:4], item(4, output=f"Ask {MAIL} for it, please.")]), "utf-8")
    with pytest.raises(ScanError, match=r"private values are left in 1 row \(record 5\)"):
        pipeline.verify(dirty, run)


def test_rows_whose_private_spans_are_only_masked_in_the_loss_are_told(tmp_path):
    (tmp_path / "d.jsonl").write_text(2 * (json.dumps(item(1, output=f"Ask {MAIL} for it, please.")) + "\n"), "utf-8")
    run = pipeline.audit([str(tmp_path / "d.jsonl")], SETTINGS.changed(redact=False), tmp_path / "d.scan").path
    told = pipeline.apply(run, tmp_path / "clean.jsonl").in_words()
    assert "private spans still stand in 1 row: with --no-redact they are to be masked in the loss" in told
    planned = json.loads((run / "scan.json").read_text("utf-8"))["summary"]["plan"]
    assert (planned["drop"], planned["loss_masked"]) == (1, 1), "a row that is dropped is not counted"


def test_a_table_that_was_written_as_jsonl_is_still_a_table(tmp_path):
    table = "Name,Contact,City\n" + "".join(f"Ann {i},ann{i}@roe-clinic.net,Rome\n" for i in range(9))
    (tmp_path / "t.csv").write_text(table, "utf-8")
    run = pipeline.audit([str(tmp_path / "t.csv")], SETTINGS, tmp_path / "t.scan").path
    pipeline.apply(run, tmp_path / "t.jsonl", "jsonl")
    assert pipeline.verify(tmp_path / "t.jsonl", run).values == 9
    with (tmp_path / "t.jsonl").open("a") as file:
        file.write(json.dumps({"Name": "Eve", "Contact": "eve@roe-clinic.net", "City": "Rome"}) + "\n")
    with pytest.raises(ScanError, match=r"private values are left in 1 row \(line 10\)"):
        pipeline.verify(tmp_path / "t.jsonl", run)


def test_of_a_folder_the_files_are_named_and_so_is_what_was_not_read(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.jsonl").write_text(json.dumps(item(1, output=f"Ask {name}{MAIL}.")) + "\n", "utf-8")
    run = pipeline.audit([str(tmp_path / "in")], SETTINGS, tmp_path / "in.scan").path
    with pytest.raises(ScanError, match=r"private values are left in 2 rows \(a\.jsonl:1, b\.jsonl:1\); apply"):
        pipeline.verify(tmp_path / "in", run)
    pipeline.apply(run, tmp_path / "clean")
    assert "nothing is proved" not in pipeline.verify(tmp_path / "clean", run).in_words()
    (tmp_path / "clean" / "photo.png").write_bytes(b"\x89PNG" + MAIL.encode())
    said = pipeline.verify(tmp_path / "clean", run).in_words()
    assert re.search(r"\nOf these nothing is proved, left out \(.+\): photo\.png\n", said)


PEOPLE = """Number,Name,Password,TelephoneNumber,NationalID,phone_model
1,Ann,eiZookooB7,84 23 30,JN 41 39 95 B,Galaxy 1234567
2,Bob,horsestaple,0496 464,,none
3,Eve,string,none,860315-1234,Pixel
"""


def test_columns_are_masked_by_their_names(tmp_path):
    (tmp_path / "t.csv").write_text(PEOPLE, "utf-8")
    run = pipeline.audit([str(tmp_path / "t.csv")], SETTINGS, tmp_path / "t.scan").path
    spans = RunFolder(run).read_table("spans")
    assert sorted(spans["preview"].to_list()) == [
        "[ID] 11 chars, by the name of its field, NationalID",
        "[ID] 13 chars, by the name of its field, NationalID",
        "[PASSWORD] 10 chars, by the name of its field, Password",
        "[PASSWORD] 11 chars, by the name of its field, Password",
        "[PHONE] 8 chars, by the name of its field, TelephoneNumber",
        "[PHONE] 8 chars, by the name of its field, TelephoneNumber",
    ]
    with pytest.raises(ScanError, match=r"private values are left in 3 rows \(lines 2, 3, 4\)"):
        pipeline.verify(tmp_path / "t.csv", run)
    pipeline.apply(run, tmp_path / "clean.csv")
    assert (tmp_path / "clean.csv").read_text("utf-8").splitlines()[1:] == [
        "1,Ann,[PASSWORD_1],[PHONE_1],[ID_1],Galaxy 1234567",
        "2,Bob,[PASSWORD_1],[PHONE_1],,none",
        "3,Eve,string,none,[ID_1],Pixel",
    ]
    found = pipeline.verify(tmp_path / "clean.csv", run)
    assert (found.values, found.words) == (5, 1)


def test_a_field_that_no_trainer_reads_is_told_by_its_name(tmp_path):
    meta = {"author": {"Phone_No": "84 23 30"}, "phone_model": "1234567", "password": "", "e-mail": "none"}
    clean, run = cleaned(tmp_path, [json.dumps(item(0)), json.dumps(item(1, meta=meta))])
    pipeline.verify(clean, run)
    clean.write_text(clean.read_text("utf-8").replace("[PHONE_1]", "84 23 30"), "utf-8")
    with pytest.raises(
        ScanError, match=r"stand in 1 row \(line 2\), in fields that no trainer reads \(Phone_No\)"
    ) as told:
        pipeline.verify(clean, run)
    assert "84 23" not in str(told.value)
