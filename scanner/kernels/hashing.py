"""Hash functions shared by the kernels: MurmurHash3 x64 128 for records, a rolling 64-bit hash for tokens.

MurmurHash3 is Austin Appleby's public-domain function; the tests hold it against the `mmh3` package.
"""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import I64R, INT, U8R, U64_2D, kernel, shared
from scanner.kernels._words import COMBINE_STEP, load64, word_at

_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)
_F1 = np.uint64(0xFF51AFD7ED558CCD)
_F2 = np.uint64(0xC4CEB9FE1A85EC53)
_R33 = np.uint64(33)

_STEP = np.uint64(COMBINE_STEP)
_R32 = np.uint64(32)


@shared
def fmix64(h):
    """MurmurHash3's 64-bit finaliser, a bijection that spreads every bit."""
    h ^= h >> _R33
    h *= _F1
    h ^= h >> _R33
    h *= _F2
    return h ^ (h >> _R33)


@shared
def fmix32(h):
    """MurmurHash3's 32-bit finaliser, the pre-mix of datasketch's affine32 scheme."""
    h ^= h >> np.uint32(16)
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h ^= h >> np.uint32(13)
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@shared
def combine(h, value):
    """Fold one well-mixed 64-bit value into a running hash; order matters. Finish with fmix64."""
    h = (h ^ value) * _STEP
    return h ^ (h >> _R32)


@shared
def power(base, exponent):
    """base ** exponent modulo 2^64, which takes the oldest of so many values out of a rolling hash."""
    result = np.uint64(1)
    for _ in range(exponent):
        result *= base
    return result


@shared
def _rotl(x, r):
    return (x << np.uint64(r)) | (x >> np.uint64(64 - r))


@shared
def murmur128(data, start, end):
    """MurmurHash3 x64 128 of data[start:end] with seed 0, as two uint64."""
    length = end - start
    h1 = np.uint64(0)
    h2 = np.uint64(0)
    blocks = length // 16
    for i in range(blocks):
        k1 = load64(data, start + 16 * i)
        k2 = load64(data, start + 16 * i + 8)
        h1 ^= _rotl(k1 * _C1, 31) * _C2
        h1 = (_rotl(h1, 27) + h2) * np.uint64(5) + np.uint64(0x52DCE729)
        h2 ^= _rotl(k2 * _C2, 33) * _C1
        h2 = (_rotl(h2, 31) + h1) * np.uint64(5) + np.uint64(0x38495AB5)
    tail = start + 16 * blocks
    k1 = word_at(data, tail, min(end - tail, 8))
    k2 = word_at(data, tail + 8, end - tail - 8)
    h2 ^= _rotl(k2 * _C2, 33) * _C1
    h1 ^= _rotl(k1 * _C1, 31) * _C2
    h1 ^= np.uint64(length)
    h2 ^= np.uint64(length)
    h1 += h2
    h2 += h1
    h1 = fmix64(h1)
    h2 = fmix64(h2)
    h1 += h2
    h2 += h1
    return h1, h2


@kernel(INT(U8R, I64R, U64_2D))
def hash_texts(data, offsets, digest):
    """MurmurHash3 x64 128 of each text data[offsets[i]:offsets[i + 1]]; returns their number."""
    for i in range(len(offsets) - 1):
        h1, h2 = murmur128(data, offsets[i], offsets[i + 1])
        digest[i, 0] = h1
        digest[i, 1] = h2
    return len(offsets) - 1
