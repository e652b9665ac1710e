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
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple


class Validator(NamedTuple):
    """A test of one matched value; `proves` says whether passing it is evidence by itself."""

    accepts: Callable[[str], bool]
    proves: bool


def digits_of(value: str) -> str:
    """The ASCII digits of a value, in order."""
    return "".join(c for c in value if "0" <= c <= "9")


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


IBAN_LENGTHS = dict(
    AD=24, AE=23, AL=28, AT=20, AZ=28, BA=20, BE=16, BG=22, BH=22, BI=27, BR=29, BY=28, CH=21, CR=22, CY=28, CZ=24,
    DE=22, DJ=27, DK=18, DO=28, EE=20, EG=29, ES=24, FI=18, FK=18, FO=18, FR=27, GB=22, GE=22, GI=23, GL=18, GR=27,
    GT=28, HR=21, HU=28, IE=22, IL=23, IQ=23, IS=26, IT=27, JO=30, KW=30, KZ=20, LB=28, LC=32, LI=21, LT=20, LU=20,
    LV=21, LY=25, MC=27, MD=24, ME=22, MK=19, MN=20, MR=27, MT=31, MU=30, NI=28, NL=18, NO=15, OM=23, PK=24, PL=28,
    PS=29, PT=25, QA=29, RO=24, RS=22, RU=33, SA=24, SC=31, SD=18, SE=24, SI=19, SK=24, SM=27, SO=23, ST=25, SV=28,
    TL=23, TN=24, TR=26, UA=29, VA=22, VG=24, XK=20, YE=30,
)  # fmt: skip
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
    that ends in .0.0 names a network or a browser version.
    """
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return False
    parts = [int(part) for part in value.split(".")]
    if max(parts) < 32 or parts[2:] == [0, 0] or "".join(map(str, parts)) in "0123456789":  # 123.45.67.89 is made up
        return False
    return not (address.is_private or address.is_multicast or address.is_reserved or address.is_loopback)


def is_personal_ipv6(value: str) -> bool:
    """True for an IPv6 address that can belong to somebody; code such as `std::abs` and documentation (RFC 3849) not."""
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


RESERVED_DOMAINS = ("example.com", "example.org", "example.net", "example.edu")
"""RFC 2606 and RFC 6761, plus example.edu, which is held back in the same way."""
RESERVED_TOP = ("example", "test", "invalid", "localhost", "local")
FILE_ENDINGS = frozenset(
    "png jpg jpeg gif svg webp css js ts jsx tsx html htm json xml yml yaml py rb java class cpp php txt md pdf zip gz "
    "min map dist prod dev conf ini log csv lock".split()
)
PLACEHOLDER_NAMES = frozenset(
    "user username name your yourname youremail email mail myemail example test me you someone somebody foo bar my abc xyz "
    "firstname lastname first last xxx xxxx yyy yyyy address sender recipient receiver to from git noreply donotreply "
    "mailer daemon sample recipient1 user1 user2 id login account yourusername usuario correo nombre gmail".split()
)
MADE_UP_NAMES = frozenset(
    "john jane doe smith johndoe janedoe johnsmith janesmith jdoe jsmith alice bob mary joe boss info contact support "
    "admin hello team sales".split()
)
"""Names that textbooks give to nobody in particular; they count only at a made-up domain."""
MADE_UP_DOMAINS = frozenset(
    "domain email company yourdomain mydomain yourcompany mycompany somecompany website site yourwebsite host server "
    "provider yourmail emaildomain somewhere foo bar abc xyz test sample organization your anydomain mywebsite".split()
)
MAIL_PROVIDERS = frozenset("gmail mail hotmail yahoo outlook live icloud qq aol".split())


def is_personal_email(value: str) -> bool:
    """True for an e-mail address that can reach somebody.

    Quiet: domains reserved for examples, names such as `icon@2x.png`, service names (`git@`, `noreply@`) and
    placeholders in both halves (`your.name@company.com`).
    """
    local, _, domain = value.lower().rpartition("@")
    labels = domain.split(".")
    if not local or len(value) > 254 or len(local) > 64 or ".." in value or not labels[-1].isalpha():
        return False
    if labels[-1] in FILE_ENDINGS or labels[-1] in RESERVED_TOP or ".".join(labels[-2:]) in RESERVED_DOMAINS:
        return False
    if any(label.startswith("example") for label in labels):
        return False
    words = [word for word in re.split(r"[^a-z]+", local) if word]
    made_up = all(word in PLACEHOLDER_NAMES or len(set(word)) == 1 for word in words)
    if local in ("git", "hg", "svn", "noreply", "no-reply", "donotreply", "do-not-reply", "mailer-daemon"):
        return False
    if labels[-2] in MADE_UP_DOMAINS or len(set(labels[-2])) == 1:
        return not (made_up or all(word in PLACEHOLDER_NAMES or word in MADE_UP_NAMES for word in words))
    return not (made_up and labels[-2] in MAIL_PROVIDERS)


TOLL_FREE = r"(?:(?:\+|00)?1[ .-]?)?\(?8(?:00|33|44|55|66|77|88)\)?[ .-]?\d{3}[ .-]?\d{4}"
"""Numbers of the North American plan that cost the caller nothing: hotlines, nobody's own."""


def is_phone_number(value: str) -> bool:
    """True for 7 to 15 digits (ITU-T E.164) that are no date, no span of years, no typing pattern.

    Numbers set aside for fiction and the favourites of textbooks stay quiet: 555-0100 to 555-0199 (NANP), 555-5555,
    123-456-7890. So do toll-free numbers: taking a hotline out of an answer does harm and protects nobody.
    """
    number = re.split(r"(?i)\s*(?:x|ext)", value)[0]
    digits = digits_of(number)
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3 or len(set(digits[-7:])) < 2:
        return False
    if any(digits[-7:] in run for run in ("01234567890123456789", "98765432109876543210")):
        return False
    if re.fullmatch(TOLL_FREE, number):
        return False
    if re.fullmatch(r"\d*555(?:01\d\d|1234|1212|5555)", digits):
        return False
    return not _is_date(number)


def is_cn_mobile(value: str) -> bool:
    """True for a Chinese mobile number that is neither round nor the sample that prints everywhere."""
    digits = digits_of(value)
    return len(digits) == 11 and len(set(digits[3:])) > 3 and digits != "13800138000" and "000000" not in digits


def _is_date(number: str) -> bool:
    parts = [part for part in re.split(r"\D+", number) if part]
    if len(parts) == 2 and all(len(p) == 4 and "1500" <= p <= "2199" for p in parts):
        return True  # 1999-2003
    if len(parts) == 3:
        year, rest = (parts[0], parts[1:]) if len(parts[0]) == 4 else (parts[2], parts[:2])
        small = all(len(p) <= 2 and 1 <= int(p) <= 31 for p in rest)
        return small and len(year) == 4 and "1500" <= year <= "2199"
    return False


def entropy_per_character_bits(value: str) -> float:
    """Shannon entropy of a value's own characters, in bits per character; 0 for the empty value."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


PLACEHOLDER_WORDS = re.compile(
    r"(?i)your|example|sample|placeholder|change.?me|insert|replace|dummy|fake|redacted|xxx|\*\*\*|\.\.\.|"
    r"my_?(?:api|secret|access|token|key|pass)|1234567|abcdef|qwerty|_here|todo|none|null|(?:api|secret|access)_?key"
)
"""Words by which writers of examples mark a value as not real."""
CODE_SIGNS = re.compile(r"(?i)\$\{?[a-z_]|<[a-z_ ]*>|\{[a-z_ ]*\}|\[[a-z_ ]*\]|\w\(|%[sdr(]|process\.env|getenv|config\.|\w\.\w+\.")
"""Signs that a variable, a call or a template stands where a value would."""


def is_random_secret(value: str) -> bool:
    """True for a key that looks drawn at random: letters and digits, 3.5 bits a character, no placeholder word.

    3.5 bits per character is the gate gitleaks uses for its generic-api-key rule; short words lie below it.
    """
    if len(value) < 16 or PLACEHOLDER_WORDS.search(value) or CODE_SIGNS.search(value):
        return False
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed and entropy_per_character_bits(value) >= 3.5


def is_token(value: str) -> bool:
    """True for a vendor's token whose random part is not a typing pattern (at least 3 bits a character)."""
    body = re.split(r"[-_]", value)[-1] if len(re.split(r"[-_]", value)[-1]) >= 16 else value
    return not re.search(r"(?i)xxxx|\.\.\.|your|example|0123456789|123456789|abcdefgh", value) and (
        entropy_per_character_bits(body) >= 3.0
    )


COMMON_PASSWORDS = re.compile(r"(?i)pass|secret|admin|qwerty|letmein|welcome|test|hello|abc|user|root|guest|demo|1234")


def is_password(value: str) -> bool:
    """True for 8 or more characters from at least three of: lower, upper, digit, sign; no textbook word in it."""
    if len(value) < 8 or PLACEHOLDER_WORDS.search(value) or CODE_SIGNS.search(value):
        return False
    if COMMON_PASSWORDS.search(value) or "password" in value.lower().translate(str.maketrans("@40$5", "aaoss")):
        return False
    kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    return sum(any(kind(c) for c in value) for kind in kinds) >= 3


def is_url_password(value: str) -> bool:
    """True for a password in a URL that is no placeholder (`user:password@host`, `user:...@host`)."""
    if PLACEHOLDER_WORDS.search(value) or CODE_SIGNS.search(value) or len(set(value)) < 3:
        return False
    words = r"(?i)(?:pass(?:word|wd)?|pwd|secret|admin|root|user(?:name)?|guest|test|token|postgres)\d{0,3}"
    return len(value) >= 4 and re.fullmatch(words, value) is None


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


def is_key_block(value: str) -> bool:
    """True for a PEM block that holds key material, not an ellipsis or a placeholder."""
    body = re.sub(r"-----[^-]*-----|\\[nr]|\s|[A-Za-z-]+:[^\n]*\n", "", value)
    material = re.sub(r"[^A-Za-z0-9+/]", "", body)
    return len(material) >= 40 and entropy_per_character_bits(material) >= 3.5


VALIDATORS = {
    "basic_credentials": Validator(is_basic_credentials, proves=True),
    "card_number": Validator(is_card_number, proves=True),
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
}
