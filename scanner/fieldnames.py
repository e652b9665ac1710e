"""Names of fields that tell what their values are: TelephoneNumber, phone_no, user-email, 手机号.

A name is taken apart where its case or its separators do; it means what its last words mean, so that home_phone and
customerEmail are known by phone and email, while phone_model and password_policy are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from scanner.jsonediting import parts_of

LONGEST_NAME = 64  # characters: longer keys are data
_NO_VALUES = """
none null nil nan n/a na true false yes no unknown hidden redacted masked removed string str text varchar char required
optional password passwd secret token key email e-mail phone number changeme example
"""
NO_VALUES = frozenset(_NO_VALUES.split())
"""What stands in such a field in place of a value."""
_IDENTIFIERS = """
id ids idx index uid uuid guid pid hash hashes md sha digest checksum fingerprint signature etag revision rev commit
nonce isbn ean doi version build url urls uri link links path file filename timestamp timestamps ts time date datetime
created updated modified published at on utc epoch duration ms ns seed offset offsets size length bytes count counts
tokens score cursor sequence seq
"""
IDENTIFIERS = frozenset(_IDENTIFIERS.split())
"""Last words of names whose digits number, date or measure something: what looks like a card number there is chance."""
_FLOAT = re.compile(r"(\d{1,24})(?:[.,](\d*))?(?:[eE]\+?(\d{1,2}))?")
_SHORT_CODE = re.compile(r"[0-9]{1,4}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
Meaning = TypeVar("Meaning")


def words(name: str) -> list[str]:
    """("TelephoneNumber") -> ["telephone", "number"]; numbers at the end only count the fields, so they go."""
    found = [word.lower() for word in _WORD.findall(name[: LONGEST_NAME + 1])] if len(name) <= LONGEST_NAME else []
    while found and found[-1].isdecimal():
        found.pop()
    return found


def squeezed(name: str) -> str:
    """A name without case and separators, as `meaning` looks for it."""
    return "".join(words(name))


def name_of(pointer: str) -> str:
    """The name that a JSON pointer ends with; numbers that count the entries of a list are passed over."""
    return next((part for part in reversed(parts_of(pointer)) if not part.isdecimal()), "")


def is_identifier(name: str) -> bool:
    """Whether a field of that name numbers, dates or measures something: conversation_id, createdAt, sha256."""
    parts = words(name)
    return bool(parts) and parts[-1] in IDENTIFIERS


def meaning(name: str, known: Mapping[str, Meaning]) -> Meaning | None:
    """What a field of that name holds, by squeezed names in the singular; the longest ending that is known counts."""
    parts = words(name)
    for first in range(len(parts)):
        ending = "".join(parts[first:])
        for form in (ending, ending.removesuffix("s")):
            if form in known:
                return known[form]
    return None


def whole_number(text: str) -> str:
    """The digits of a whole number that a table wrote as a float; of any other text the text itself.

    pandas writes a column of numbers with gaps as 4111111111111111.0, a spreadsheet long ones as 4.11111E+15.
    """
    match = _FLOAT.fullmatch(text)
    if match is None:
        return text
    digits, decimals, exponent = match[1], match[2] or "", int(match[3] or 0)
    whole, rest = decimals[:exponent].ljust(exponent, "0"), decimals[exponent:]
    return text if rest.strip("0") else (digits + whole)


def is_value(text: str) -> bool:
    """Whether a field's text can be a value at all: no placeholder, no type, no row of stars; 777 and 7 (of 007, as a
    spreadsheet has it) are codes like others."""
    plain = text.strip().strip("<>[]{}()\"'").casefold()
    is_label = re.fullmatch(r"[\[<{][\w .-]*[\]>}]", text.strip()) is not None  # [PHONE_1], <your password>
    is_varied = len(set(plain)) > 1 or _SHORT_CODE.fullmatch(plain) is not None
    return bool(plain) and not is_label and plain not in NO_VALUES and is_varied
