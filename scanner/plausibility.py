"""Could this be meant? Tests that refuse placeholders, dates, typing patterns and code where a value would stand.

Nothing here proves a value; what has check digits or a header to decode is in scanner/checksums.py.
"""

from __future__ import annotations

import math
import re
from collections import Counter


def digits_of(value: str) -> str:
    """The ASCII digits of a value, in order."""
    return "".join(c for c in value if "0" <= c <= "9")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RESERVED_DOMAINS = ("example.com", "example.org", "example.net", "example.edu")
"""RFC 2606 and RFC 6761, plus example.edu, which is held back in the same way."""
RESERVED_TOP = ("example", "test", "invalid", "localhost", "local")
FILE_ENDINGS = _words(
    "png jpg jpeg gif svg webp css js ts jsx tsx html htm json xml yml yaml rb java class cpp php txt pdf "
    "zip gz min map dist prod conf ini log csv lock"
)
PLACEHOLDER_NAMES = _words(
    "user username name your my yourname youremail email mail myemail example test me you someone somebody foo "
    "bar abc xyz firstname lastname first last xxx xxxx yyy yyyy address sender recipient receiver to from git "
    "noreply donotreply mailer daemon sample recipient1 user1 user2 id login account yourusername usuario correo "
    "nombre gmail"
)
MADE_UP_NAMES = _words(
    "john jane doe smith johndoe janedoe johnsmith janesmith jdoe jsmith alice bob mary joe boss info contact "
    "support admin hello team sales"
)
"""Names that textbooks give to nobody in particular; they count only at a made-up domain."""
MADE_UP_DOMAINS = _words(
    "domain email company yourdomain mydomain yourcompany mycompany somecompany website site yourwebsite host "
    "server provider yourmail emaildomain somewhere foo bar abc xyz test sample organization your anydomain "
    "mywebsite"
)
MAIL_PROVIDERS = _words("gmail mail hotmail yahoo outlook live icloud qq aol")


def is_personal_email(value: str) -> bool:
    """True for an e-mail address that can reach somebody.

    Quiet: domains reserved for examples, names such as `icon@2x.png`, service names (`git@`, `noreply@`) and
    placeholders in both halves (`your.name@company.com`).
    """
    local, _, domain = value.lower().rpartition("@")
    labels = domain.split(".")
    if not local or len(labels) < 2 or len(value) > 254 or len(local) > 64 or ".." in value:
        return False
    if not labels[-1].isalpha():
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
CODE_SIGNS = re.compile(
    r"(?i)\$\{|^\$[a-z_]|<[a-z_ ]*>|\{[a-z_ ]*\}|\[[a-z_ ]*\]|^\[[a-z][a-z0-9_]*\]?$|\w\(|%[sdr(]|process\.env|getenv|"
    r"config\.|\w\.\w+\."
)
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


TEXTBOOK_USERS = re.compile(
    r"(?i)user|login|name|pass|admin|root|guest|demo|test|email|account|doe|foo|smith|string|abc"
)


def is_user_name(value: str) -> bool:
    """True for a user name with more to it than small letters, and no textbook word in it."""
    name = value.removeprefix("@")
    if PLACEHOLDER_WORDS.search(name) or CODE_SIGNS.search(name) or TEXTBOOK_USERS.search(name):
        return False
    return any(c.isalpha() for c in name) and (value != name or re.search(r"[0-9_.-]|[a-z][A-Z]", name) is not None)


def is_card_verification(value: str) -> bool:
    """True for the digits of a card verification value that are no typing pattern (123, 4321, 000)."""
    return value not in "0123456789" and value not in "9876543210" and len(set(value)) > 1


def is_url_password(value: str) -> bool:
    """True for a password in a URL that is no placeholder (`user:password@host`, `user:...@host`)."""
    if PLACEHOLDER_WORDS.search(value) or CODE_SIGNS.search(value) or len(set(value)) < 3:
        return False
    words = r"(?i)(?:pass(?:word|wd)?|pwd|secret|admin|root|user(?:name)?|guest|test|token|postgres)\d{0,3}"
    return len(value) >= 4 and re.fullmatch(words, value) is None


def is_key_block(value: str) -> bool:
    """True for a PEM block that holds key material, not an ellipsis or a placeholder."""
    body = re.sub(r"-----[^-]*-----|\\[nr]|\s|[A-Za-z-]+:[^\n]*\n", "", value)
    material = re.sub(r"[^A-Za-z0-9+/]", "", body)
    return len(material) >= 40 and entropy_per_character_bits(material) >= 3.5
