"""Names of fields: taken apart where people write them differently, and known by how they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import fieldnames, rulebook
from scanner.fieldnames import is_value, meaning, name_of, words

BOOK = rulebook.load()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("TelephoneNumber", ["telephone", "number"]), ("phone_no", ["phone", "no"]), ("CCNumber", ["cc", "number"]),
        ("user-eMail 2", ["user", "e", "mail"]), ("SSN", ["ssn"]), ("NationalID", ["national", "id"]),
        ("手机号", ["手机号"]), ("téléphone", ["téléphone"]), ("", []), ("42", []), ("x" * 65, []),
    ],
)  # fmt: skip
def test_names_are_taken_apart(name, parts):
    assert words(name) == parts


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("telephone number", "private/phone_labelled"), ("TELEPHONE_NUMBER", "private/phone_labelled"),
        ("telephonenumber", "private/phone_labelled"), ("homePhone", "private/phone_labelled"),
        ("phones", "private/phone_labelled"), ("phone_2", "private/phone_labelled"), ("eMail", "private/email"),
        ("customer.email", "private/email"), ("NationalID", "private/national_id"), ("IBAN", "private/iban"),
        ("CreditCard", "private/credit_card"), ("SSN", "private/us_ssn"), ("Password", "secret/assigned_password"),
        ("db_password", "secret/assigned_password"), ("apiKey", "secret/assigned_secret"),
        ("密码", "secret/assigned_password"),
        ("phone_model", None), ("password_policy", None), ("microphone", None), ("email_template", None), ("id", None),
        ("TelephoneCountryCode", None), ("CVV2", "private/card_verification"),
        ("cvv_code", "private/card_verification"), ("Username", "private/user_name"),
        ("userLogin", "private/user_name"), ("login_count", None), ("user", None),
        ("name", None), ("cv", None), ("security_code", None),
    ],
)  # fmt: skip
def test_a_name_means_what_its_end_means(name, rule):
    found = meaning(name, BOOK.fields)
    assert (found.id if found else None) == rule


USUAL = """
instruction input output prompt response answer question content text value query completion system history messages
conversations from role chosen rejected label category context source target summary code tools functions name
description type id uuid lang language meta metadata tags score date url title topic reference
"""


@pytest.mark.parametrize("name", USUAL.split())
def test_fields_of_the_usual_layouts_mean_nothing(name):
    assert meaning(name, BOOK.fields) is None


def test_the_name_is_the_last_key_of_a_path():
    assert name_of("/meta/phones/0") == "phones"
    assert name_of("/a~1b~0c") == "a/b~c"
    assert name_of("") == name_of("/0") == ""


@pytest.mark.parametrize("text", ["", " ", "none", "N/A", "[PHONE_1]", "<your password>", "****", "0000000", "string"])
def test_what_stands_for_a_value_is_none(text):
    assert not is_value(text)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("4291417776317063.0", "4291417776317063"), ("401123456.00", "401123456"), ("384,0", "384"),
        ("4.291417776317063E+15", "4291417776317063"), ("5,54563E+15", "5545630000000000"), ("3E9", "3000000000"),
        ("0384", "0384"), ("84.23.30", "84.23.30"), ("12.5", "12.5"), ("1.25E+1", "1.25E+1"), ("eb6", "eb6"), ("", ""),
    ],
)  # fmt: skip
def test_whole_numbers_that_a_table_wrote_as_floats(text, digits):
    assert fieldnames.whole_number(text) == digits


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CCNumber", "4291417776317063.0"), ("card_number", "4.291417776317063E+15"), ("CCNumber", "5.54563E+15"),
        ("SSN", "401123456.0"), ("cvv", "384.0"), ("phone", "3.46700123E+9"),
    ],
)  # fmt: skip
def test_a_telling_name_knows_its_value_as_a_float(name, text):
    assert [(f.start, f.end) for f in BOOK.find_in(text, name)] == [(0, len(text))]
    assert BOOK.find_in(text.replace(".", ".9", 1) + "7e", name) == []


def test_a_value_written_as_a_float_is_found_where_it_stands_plainly():
    import polars as pl

    texts = {"text": ["401123456.0", "Her number there is 401123456, she says."], "field_path": ["/SSN", "/output"]}
    frame = pl.DataFrame({"row_id": [0, 1], "segment": [0, 0], **texts})
    found = BOOK.find([frame.cast({"row_id": pl.Int64, "segment": pl.Int32})], threads=1)
    assert found.select("row_id", "start", "end", "rule_id").rows() == [
        (0, 0, 11, "private/us_ssn"),
        (1, 20, 29, "private/us_ssn"),
    ]


@given(
    st.lists(st.sampled_from(["telephone", "number"]), min_size=1, max_size=4),
    st.sampled_from(["_", "-", " ", ".", "__"]),
)
def test_separators_and_case_make_no_other_name(parts, separator):
    joined = separator.join(parts)
    camel = "".join(part.capitalize() for part in parts)
    assert fieldnames.squeezed(joined) == fieldnames.squeezed(joined.upper()) == fieldnames.squeezed(camel)


def test_what_describes_the_parameter_of_a_tool_is_no_value():
    import polars as pl

    columns = {"row_id": [0, 1], "segment": [0, 0], "field_path": ["/tools/0/password"] * 2, "text": ["eiZookooB7"] * 2}
    frame = pl.DataFrame({**columns, "role": ["tools", "text"]})
    frame = frame.cast({"row_id": pl.Int64, "segment": pl.Int32})
    found = BOOK.find([frame], threads=1)
    assert found["row_id"].to_list() == [0, 1]
    assert found["preview"].str.contains("name of its field").to_list() == [False, True]  # the other as its repetition


@pytest.mark.parametrize("name", ["id", "conversation_id", "createdAt", "sha256", "URL", "user-ids", "tokens", "ts2"])
def test_names_that_only_number_or_date(name):
    assert fieldnames.is_identifier(name)


@pytest.mark.parametrize("name", ["", "phone", "identity", "id_card", "card", "number", "paid", "时间"])
def test_names_that_may_hold_a_value(name):
    assert not fieldnames.is_identifier(name)
