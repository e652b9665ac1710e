"""Keyed hashes: who does not hold the key can neither test a guess against them nor link those of two runs.

SipHash-2-4 (Aumasson and Bernstein, INDOCRYPT 2012), a pseudorandom function with a 128-bit key, over whole arrays of
64-bit words at a time.
"""

from __future__ import annotations

import hashlib

import numpy as np

from scanner.objects import Rows, UInt64

KEY_BYTES = 32
"""Two SipHash keys, so that 128 bits can be had from two independent functions."""
_BLOCK = 1 << 15  # rows at a time: the state stays in the processor's cache


def derived_key(material: bytes, purpose: bytes) -> bytes:
    """KEY_BYTES from secret material; keys of two purposes tell nothing of one another."""
    return hashlib.blake2b(material, person=purpose, digest_size=KEY_BYTES).digest()


def content_of(rows: Rows) -> bytes:
    """Secret material of a whole data set, the sum of its records' digests: the same for any order of its rows, and
    known only to who has every record."""
    return b"".join(int(rows.digest[:, c].sum(dtype=np.uint64)).to_bytes(8, "little") for c in (0, 1))


def hashes(words: UInt64, key: bytes, function: int = 0) -> UInt64:
    """(n,) SipHash-2-4 of every row of `words` (n, k), its words as little-endian bytes.

    function: 0 or 1, which half of the key is used.
    """
    k0, k1 = np.frombuffer(key, "<u8")[2 * function : 2 * function + 2].astype(np.uint64)
    out = np.empty(len(words), np.uint64)
    for at in range(0, len(words), _BLOCK):
        part = words[at : at + _BLOCK]
        out[at : at + _BLOCK] = _siphash(np.ascontiguousarray(part.T), k0, k1)
    return out


def _siphash(columns: UInt64, k0: np.uint64, k1: np.uint64) -> UInt64:
    """SipHash-2-4 of messages whose i-th words are columns[i]."""
    n = columns.shape[1]
    v = [
        np.full(n, k ^ np.uint64(constant), np.uint64)
        for k, constant in (
            (k0, 0x736F6D6570736575), (k1, 0x646F72616E646F6D), (k0, 0x6C7967656E657261), (k1, 0x7465646279746573)
        )
    ]  # fmt: skip
    length = np.full(n, np.uint64((8 * len(columns)) % 256) << np.uint64(56), np.uint64)
    for word in (*columns, length):
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= np.uint64(0xFF)
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _rounds(v: list[UInt64], count: int) -> None:
    """SipRounds in place."""
    for _ in range(count):
        v[0] += v[1]
        v[2] += v[3]
        v[1] = _rotated(v[1], 13) ^ v[0]
        v[3] = _rotated(v[3], 16) ^ v[2]
        v[0] = _rotated(v[0], 32)
        v[2] += v[1]
        v[0] += v[3]
        v[1] = _rotated(v[1], 17) ^ v[2]
        v[3] = _rotated(v[3], 21) ^ v[0]
        v[2] = _rotated(v[2], 32)


def _rotated(x: UInt64, bits: int) -> UInt64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))
