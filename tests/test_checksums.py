"""Checksums against values that others published, and against every single change of a digit."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import checksums as cs

# Test numbers that the card networks and payment providers publish.
CARDS = (
    "4111 1111 1111 1111", "4242424242424242", "4012888888881881", "4222222222222", "5555555555554444",
    "5105105105105100", "2223003122003222", "378282246310005", "371449635398431", "6011111111111117",
    "6011000990139424", "30569309025904", "38520000023237", "3530111333300000", "3566002020360505", "6304000000000000",
)  # fmt: skip
# Examples of the SWIFT IBAN registry.
IBANS = (
    "GB29 NWBK 6016 1331 9268 19", "DE89 3704 0044 0532 0130 00", "FR14 2004 1010 0505 0001 3M02 606",
    "NL91 ABNA 0417 1643 00", "NO93 8601 1117 947", "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    "CH93 0076 2011 6238 5295 7", "SE45 5000 0000 0583 9825 7466", "TR33 0006 1005 1978 6457 8413 26",
)  # fmt: skip


@pytest.mark.parametrize("value", CARDS)
def test_published_cards(value: str) -> None:
    assert cs.is_card_number(value)


def test_luhn_knows_the_textbook_number() -> None:
    assert [d for d in range(10) if cs.has_luhn_checksum(f"7992739871{d}")] == [3]
    assert not cs.has_luhn_checksum("")


@given(st.sampled_from(CARDS), st.data())
def test_one_wrong_digit_is_no_card(value: str, data: st.DataObject) -> None:
    digits = cs.digits_of(value)
    at = data.draw(st.integers(0, len(digits) - 1))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != digits[at]]))
    assert not cs.is_card_number(digits[:at] + other + digits[at + 1 :])


@pytest.mark.parametrize("value", ["1234567812345670", "0000000000000000", "41111111111111", "9999999999999995"])
def test_luhn_alone_is_not_enough(value: str) -> None:
    assert not cs.is_card_number(value)


@pytest.mark.parametrize("value", IBANS)
def test_published_ibans(value: str) -> None:
    assert cs.is_iban(value)
    assert cs.is_iban(value.lower().replace(" ", ""))


@given(st.sampled_from(IBANS), st.data())
def test_one_wrong_digit_is_no_iban(value: str, data: st.DataObject) -> None:
    iban = value.replace(" ", "")
    at = data.draw(st.sampled_from([i for i in range(2, len(iban)) if iban[i].isdigit()]))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != iban[at]]))
    assert not cs.is_iban(iban[:at] + other + iban[at + 1 :])


def test_iban_lengths_and_countries() -> None:
    assert not cs.is_iban("XX29 NWBK 6016 1331 9268 19")
    assert not cs.is_iban("GB29 NWBK 6016 1331 9268 1")
    assert not cs.is_iban("")


@pytest.mark.parametrize(
    ("value", "right"),
    [("401-12-3456", True), ("000-12-3456", False), ("666-12-3456", False), ("900-12-3456", False),
     ("401-00-3456", False), ("401-12-0000", False), ("078-05-1120", False), ("401-12-345", False)],
)  # fmt: skip
def test_us_ssn(value: str, right: bool) -> None:
    assert cs.is_us_ssn(value) is right


def test_cn_resident_id() -> None:
    assert cs.is_cn_resident_id("11010519491231002X")  # the example of GB 11643-1999
    assert cs.is_cn_resident_id("440524188001010014") is False  # the standard's second example, born in 1880
    right = [d for d in "0123456789X" if cs.is_cn_resident_id(f"11010519491231002{d}")]
    assert right == ["X"]
    assert not cs.is_cn_resident_id("11010519491331002X")


@pytest.mark.parametrize(
    ("value", "right"),
    [("41.176.181.243", True), ("10.218.6.131", False), ("192.168.1.1", False), ("127.0.0.1", False),
     ("172.20.1.200", False), ("172.61.42.192", True), ("224.0.0.251", False), ("8.8.8.8", False), ("1.2.3.4", False),
     ("203.0.113.77", False), ("102.45.7.0", False), ("999.1.1.1", False), ("12.34.56.78", False), ("", False)],
)  # fmt: skip
def test_ipv4(value: str, right: bool) -> None:
    assert cs.is_personal_ipv4(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [("2a02:8109:9a80:1f2c::5d3e", True), ("2001:db8::8a2e:370:7334", False), ("fe80::1ff:fe23:4567:890a", False),
     ("::1", False), ("a::b", False), ("fd12:3456:789a:1::1", False), ("12:30:45", False)],
)  # fmt: skip
def test_ipv6(value: str, right: bool) -> None:
    assert cs.is_personal_ipv6(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("2C:88:C5:0D:F5:0B", True),
        ("00:00:00:00:00:00", False),
        ("FF-FF-FF-FF-FF-FF", False),
        ("00:11:22:33:44:55", False),
    ],
)
def test_hardware_address(value: str, right: bool) -> None:
    assert cs.is_hardware_address(value) is right


def test_jwt_and_basic_credentials_are_decoded() -> None:
    def encoded(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    assert cs.is_jwt(encoded('{"alg":"HS256"}') + "." + encoded('{"sub":"1"}') + ".x")
    assert not cs.is_jwt(encoded('{"typ":"JWT"}') + ".x")
    assert not cs.is_jwt("eyJ.x")
    assert not cs.is_jwt("eyJhbGc")
    assert cs.is_basic_credentials(base64.b64encode(b"anna:blumentopf77").decode())
    assert not cs.is_basic_credentials(base64.b64encode(b"user:password").decode())
    assert not cs.is_basic_credentials("principles")
    assert not cs.is_basic_credentials(base64.b64encode(b"\xff:\xfe").decode())


@pytest.mark.parametrize("name", cs.VALIDATORS)
@given(value=st.text(max_size=40))
def test_no_validator_fails_on_any_text(name: str, value: str) -> None:
    assert isinstance(cs.VALIDATORS[name].accepts(value), bool)
