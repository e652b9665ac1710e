"""Placeholders, dates and code stay quiet; what somebody could mean does not."""

from __future__ import annotations

import pytest

from scanner import plausibility as pl


@pytest.mark.parametrize(
    ("value", "right"),
    [("jane.roe@northwind-traders.net", True), ("user@example.com", False), ("a@b.example.org", False),
     ("x@y.test", False),
     ("icon@2x.png", False), ("git@github.com", False), ("no-reply@shop.de", False), ("your.name@company.com", False),
     ("john.doe@email.com", False), ("john.doe@gmail.com", True), ("your_email@gmail.com", False),
     ("a..b@shop.de", False), ("a" * 65 + "@shop.de", False), ("@shop.de", False), ("root@localhost", False),
     ("ana@firma.com.py", True), ("li@startup.dev", True)],
)  # fmt: skip
def test_email(value: str, right: bool) -> None:
    assert pl.is_personal_email(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [("+44 7700 603 966", True), ("415-867-5309", True), ("415-867-5309x12", True), ("1999-2003", False),
     ("12-05-2019", False), ("2019-05-12", False), ("123-456-7890", False), ("987-654-3210", False),
     ("(555) 555-5555", False), ("212-555-0123", False), ("1-800-273-8255", False), ("(85) 5986-8343", True),
     ("555 12", False), ("1" * 16, False), ("000-000-0000", False)],
)  # fmt: skip
def test_phone_number(value: str, right: bool) -> None:
    assert pl.is_phone_number(value) is right


def test_cn_mobile() -> None:
    assert pl.is_cn_mobile("139-1234-5670")
    assert not pl.is_cn_mobile("13800138000")
    assert not pl.is_cn_mobile("13800000000")


def test_entropy() -> None:
    assert pl.entropy_per_character_bits("") == 0
    assert pl.entropy_per_character_bits("aaaa") == 0
    assert pl.entropy_per_character_bits("abcd") == 2
    assert pl.entropy_per_character_bits("0123456789abcdef") == 4


@pytest.mark.parametrize(
    ("value", "right"),
    [("t7Rk9vQx2mWz4LpN8bYc", True), ("your_api_key_goes_here1", False), ("correcthorsebatterystaple", False),
     ("12345678901234567890", False), ("t7Rk9v", False), ("${SECRET_TOKEN_1}abcd", False),
     ("os.environ.get1234", False)],
)  # fmt: skip
def test_random_secret(value: str, right: bool) -> None:
    assert pl.is_random_secret(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [("t7Rk9vQx2m", True), ("aB3#fG7!kL9@", True), ("password123", False), ("P@ssw0rd1", False), ("Pass1234", False),
     ("onlylowercase", False), ("Ab1", False), ("${DB_Pass1}", False), ("getPass1(x)", False)],
)  # fmt: skip
def test_password(value: str, right: bool) -> None:
    assert pl.is_password(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [("MasonM13", True), ("@superfan", True), ("mira.stein", True), ("SniperElite", True), ("silverqueen", False),
     ("johndoe77", False), ("admin2", False), ("newUser", False), ("2019", False), ("@2019", False),
     ("form.name", False), ("${id_1}", False)],
)  # fmt: skip
def test_user_name(value: str, right: bool) -> None:
    assert pl.is_user_name(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [("482", True), ("0482", True), ("132", True), ("123", False), ("6789", False), ("321", False), ("000", False)],
)  # fmt: skip
def test_card_verification(value: str, right: bool) -> None:
    assert pl.is_card_verification(value) is right


def test_url_password() -> None:
    assert pl.is_url_password("t7Rk9vQx2m")
    assert not any(map(pl.is_url_password, ("password", "secret1", "...", "<pass>", "xxxx", "aaaa", "${PASS}", "abc")))


def test_tokens() -> None:
    assert pl.is_token("AKIA2E5XWQ7NSB4T3KJD")
    assert not any(map(pl.is_token, ("AKIAIOSFODNN7EXAMPLE", "ghp_" + "x" * 36, "sk-your-key-your-key-your-key-12345")))


def test_key_block() -> None:
    body = "MIIBVRq8vT2mK5xWz7LpN3bYc6JdHf9SgA1uEi4oQk2Wm8Xt5Zr7Lp3Nb6Yc1JdQ"
    assert pl.is_key_block(f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----")
    assert not pl.is_key_block("-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----")
