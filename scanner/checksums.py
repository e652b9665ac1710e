"""Regex proposes, a checksum disposes: tests that a matched value is really what its shape promises.

`VALIDATORS` maps the names that rule files may use to a `Validator`. One that `proves` has arithmetic or structure
behind it that random text passes rarely (a check digit, a decodable header), so a value it accepts gets the score
1.0; the others only refuse what cannot be meant (placeholders, dates, reserved addresses).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable
from typing import NamedTuple

from scanner.plausibility import (
    digits_of,
    is_card_verification,
    is_cn_mobile,
    is_key_block,
    is_password,
    is_personal_email,
    is_phone_number,
    is_random_secret,
    is_token,
    is_url_password,
    is_user_name,
)


class Validator(NamedTuple):
    """A test of one matched value; `proves` says whether passing it is evidence by itself."""

    accepts: Callable[[str], bool]
    proves: bool


def has_luhn_checksum(digits: str) -> bool:
    """True where the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return bool(digits) and total % 10 == 0


CARD_ISSUERS = (
    ("34", "34", (15,)), ("37", "37", (15,)),  # American Express
    ("300", "305", (14, 16)), ("36", "36", (14, 16)), ("38", "39", (14, 16)),  # Diners Club
    ("1800", "1800", (15,)), ("2131", "2131", (15,)),  # JCB, old
    ("3528", "3589", (16, 19)),  # JCB
    ("2221", "2720", (16,)), ("51", "55", (16,)),  # Mastercard
    ("4", "4", (13, 16, 19)),  # Visa
    ("6011", "6011", (16, 19)), ("644", "649", (16, 19)), ("65", "65", (16, 19)),  # Discover
    ("62", "62", (16, 17, 18, 19)), ("81", "81", (16,)),  # UnionPay
    ("50", "50", tuple(range(12, 20))), ("56", "59", tuple(range(12, 20))),  # Maestro
    ("63", "63", tuple(range(12, 20))), ("67", "67", tuple(range(12, 20))),
)  # fmt: skip
"""(first prefix, last prefix, lengths) of the issuers' number ranges (ISO/IEC 7812 issuer identification numbers)."""


def is_card_number(value: str) -> bool:
    """True for a payment card: a known issuer's prefix and length, and a right Luhn digit."""
    digits = digits_of(value)
    known = any(first <= digits[: len(first)] <= last and len(digits) in sizes for first, last, sizes in CARD_ISSUERS)
    return known and len(set(digits)) > 1 and has_luhn_checksum(digits)


_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 "
    "EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 "
    "KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 "
    "PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 "
    "VA22 VG24 XK20 YE30 "
)
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBANS.split()}
"""Characters of an IBAN by country (SWIFT IBAN Registry)."""


def is_iban(value: str) -> bool:
    """True for a bank account number whose country, length and two check digits fit (ISO 13616, ISO 7064 mod 97-10)."""
    iban = re.sub(r"[ -]", "", value).upper()
    if len(iban) != IBAN_LENGTHS.get(iban[:2]) or not (iban.isascii() and iban.isalnum()):
        return False
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def is_us_ssn(value: str) -> bool:
    """True where area, group and serial were ever allowed (SSA: no 000, 666, 9xx area, no group 00, no serial 0000).

    Numbers printed in advertisements as samples are refused.
    """
    digits = digits_of(value)
    if len(digits) != 9 or digits in ("078051120", "219099999", "123456789", "111111111", "333333333"):
        return False
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_cn_resident_id(value: str) -> bool:
    """True for a Chinese resident identity number with a possible birth date and check digit (GB 11643, MOD 11-2)."""
    if not re.fullmatch(r"[1-9]\d{16}[\dXx]", value):
        return False
    year, month, day = int(value[6:10]), int(value[10:12]), int(value[12:14])
    if not (1900 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= 31):
        return False
    total = sum(int(c) * (2 ** (17 - i) % 11) for i, c in enumerate(value[:17]))
    return "10X98765432"[total % 11] == value[17].upper()


def is_personal_ipv4(value: str) -> bool:
    """True for a public IPv4 address that can belong to somebody.

    Private, reserved and documentation ranges (RFC 6890, 5737) belong to nobody; a value whose parts are all below 32
    is nearly always a version, a section number or a public resolver (one address in 4,096 is lost by this), and one
    that ends in .0 names a network or a browser version.
    """
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return False
    parts = [int(part) for part in value.split(".")]
    if max(parts) < 32 or parts[3] == 0 or "".join(map(str, parts)) in "0123456789":  # 123.45.67.89 is made up
        return False
    return not (address.is_private or address.is_multicast or address.is_reserved or address.is_loopback)


def is_personal_ipv6(value: str) -> bool:
    """True for an IPv6 address that can belong to somebody; code (`std::abs`) and documentation (RFC 3849) do not."""
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    groups = [group for group in value.split(":") if group]
    if len(groups) < 4 or len(groups[0]) < 2 or not any(c.isdigit() for c in value):
        return False
    documentation = address in ipaddress.IPv6Network("2001:db8::/32")
    return not (documentation or address.is_private or address.is_loopback or address.is_multicast)


def is_hardware_address(value: str) -> bool:
    """True for a MAC address that is neither all zeros, broadcast, nor a typing pattern."""
    digits = re.sub(r"[^0-9a-f]", "", value.lower())
    made_up = digits in ("001122334455", "112233445566", "123456789abc", "aabbccddeeff", "0123456789ab", "deadbeefcafe")
    return len(digits) == 12 and len(set(digits)) > 2 and not made_up


def _base64_json(part: str) -> object:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def is_jwt(value: str) -> bool:
    """True where the first part decodes to a JSON header that names an algorithm (RFC 7519)."""
    try:
        header = _base64_json(value.split(".")[0])
    except (ValueError, binascii.Error):
        return False
    return isinstance(header, dict) and "alg" in header


def is_basic_credentials(value: str) -> bool:
    """True where the value decodes to printable `user:password` (RFC 7617) that is no placeholder."""
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8")
    except (ValueError, binascii.Error):
        return False
    user, colon, password = text.partition(":")
    return bool(user and colon) and text.isprintable() and is_url_password(password)


VALIDATORS = {
    "basic_credentials": Validator(is_basic_credentials, proves=True),
    "card_number": Validator(is_card_number, proves=True),
    "card_verification": Validator(is_card_verification, proves=False),
    "cn_mobile": Validator(is_cn_mobile, proves=False),
    "cn_resident_id": Validator(is_cn_resident_id, proves=True),
    "hardware_address": Validator(is_hardware_address, proves=False),
    "iban": Validator(is_iban, proves=True),
    "jwt": Validator(is_jwt, proves=True),
    "key_block": Validator(is_key_block, proves=False),
    "password": Validator(is_password, proves=False),
    "personal_email": Validator(is_personal_email, proves=False),
    "personal_ipv4": Validator(is_personal_ipv4, proves=False),
    "personal_ipv6": Validator(is_personal_ipv6, proves=False),
    "phone_number": Validator(is_phone_number, proves=False),
    "random_secret": Validator(is_random_secret, proves=False),
    "token": Validator(is_token, proves=False),
    "url_password": Validator(is_url_password, proves=False),
    "us_ssn": Validator(is_us_ssn, proves=False),
    "user_name": Validator(is_user_name, proves=False),
}
