"""Keyed hashes: SipHash-2-4 as published, and nothing in common between two keys."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner import keyed

PUBLISHED_KEY = bytes(range(16))
MASK = (1 << 64) - 1


def siphash(message: bytes, key: bytes) -> int:
    """SipHash-2-4 step by step, as section 2 of the paper has it."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:16], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotated(x: int, bits: int) -> int:
        return ((x << bits) | (x >> (64 - bits))) & MASK

    def mix(times: int) -> None:
        for _ in range(times):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = rotated(v[1], 13) ^ v[0]
            v[0] = rotated(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = rotated(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = rotated(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = rotated(v[1], 17) ^ v[2]
            v[2] = rotated(v[2], 32)

    tail = len(message) % 8
    whole = len(message) - tail
    last = int.from_bytes(message[whole:], "little") | (len(message) % 256) << 56
    for word in [*(int.from_bytes(message[i : i + 8], "little") for i in range(0, whole, 8)), last]:
        v[3] ^= word
        mix(2)
        v[0] ^= word
    v[2] ^= 0xFF
    mix(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_twin_gives_the_published_values():
    """Appendix A of the paper (15 bytes), and two of the reference implementation's vectors."""
    assert siphash(bytes(range(15)), PUBLISHED_KEY) == 0xA129CA6149BE45E5
    assert siphash(b"", PUBLISHED_KEY) == 0x726FDB47DD0E0E31
    assert siphash(bytes(range(8)), PUBLISHED_KEY) == 0x93F5F5799A932462


@given(
    st.lists(st.lists(st.integers(0, MASK), min_size=3, max_size=3), max_size=5),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 3),
    st.sampled_from([0, 1]),
)
def test_arrays_are_hashed_like_their_bytes(rows, key, width, function):
    words = np.array(rows, np.uint64).reshape(len(rows), 3)[:, :width]
    expected = [siphash(row.astype("<u8").tobytes(), key[16 * function :]) for row in words]
    assert keyed.hashes(words, key, function).tolist() == expected


def test_blocks_do_not_show(monkeypatch):
    words = np.arange(50, dtype=np.uint64).reshape(25, 2)
    key = keyed.derived_key(b"some", b"test")
    whole = keyed.hashes(words, key)
    monkeypatch.setattr(keyed, "_BLOCK", 7)
    assert (keyed.hashes(words, key) == whole).all()


def test_keys_of_two_purposes_and_two_data_sets_share_no_hash():
    words = np.arange(1000, dtype=np.uint64)[:, None]
    keys = [keyed.derived_key(b"a", b"x"), keyed.derived_key(b"a", b"y"), keyed.derived_key(b"b", b"x")]
    found = [set(keyed.hashes(words, key, function).tolist()) for key in keys for function in (0, 1)]
    assert len(set.union(*found)) == 6 * 1000
