"""Many bytes at a time against one byte at a time, at every place of a buffer, its ends included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from scanner.kernels._words import (
    BLOCK,
    SHINGLES,
    bits_set,
    code_points,
    copy_bytes,
    equal64,
    find,
    find_stop,
    highest_bit,
    kinds64,
    load64,
    lowest_bit,
    mix_shingles,
    stops64,
    take_minima,
    word_at,
)
from scanner.kernels.hashing import fmix32
from scanner.kernels.minhash import put_shingles

EVERY_BYTE = np.random.default_rng(5).permutation(np.arange(1024) % 256).astype(np.uint8)


@njit
def masks_of(data, at, byte):
    words, spaces, others = kinds64(data, at)
    return words, spaces, others, stops64(data, at), equal64(data, at, byte)


@njit
def loaded(data, at):
    return load64(data, at)


@njit
def outer_bits(mask):
    return lowest_bit(mask), highest_bit(mask), bits_set(mask)


@njit
def copied(target, place, data, at, count):
    copy_bytes(target, place, data, at, count)


@njit
def minima(low, a, b, values, first, count):
    take_minima(low, a, b, values, first, count)


@njit
def mixed(tokens, count, width, out, at):
    mix_shingles(tokens, count, width, out, at)


@njit
def spelled_out(tokens, width, out):
    return put_shingles(tokens, len(tokens), width, out)


def mask(flags) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


@pytest.mark.parametrize("at", [0, 1, 7, 63, 500, len(EVERY_BYTE) - BLOCK])
def test_masks_say_what_each_byte_is(at):
    block = EVERY_BYTE[at : at + BLOCK].tolist()
    words, spaces, others, stops, equal = (int(m) for m in masks_of(EVERY_BYTE, at, np.uint8(block[9])))
    assert words == mask(b < 128 and chr(b).isalnum() for b in block)
    assert spaces == mask(b <= 32 or b == 127 for b in block)
    assert others == mask(b >= 128 for b in block)
    assert stops == mask(b < 32 or b >= 128 or chr(b) in '"\\' for b in block)
    assert equal == mask(b == block[9] for b in block)


def test_masks_of_all_bytes():
    """Every byte value once, 64 at a time."""
    every = np.arange(256, dtype=np.uint8)
    found = [masks_of(every, at, np.uint8(0)) for at in range(0, 256, BLOCK)]
    words, spaces, others, stops, _ = (sum(int(m[k]) << BLOCK * i for i, m in enumerate(found)) for k in range(5))
    assert words == mask(b < 128 and chr(b).isalnum() for b in range(256))
    assert spaces == mask(b <= 32 or b == 127 for b in range(256))
    assert others == mask(b >= 128 for b in range(256))
    assert stops == mask(b < 32 or b >= 128 or b in (34, 92) for b in range(256))


def test_words_are_little_endian_wherever_they_stand():
    for at in range(20):
        assert int(loaded(EVERY_BYTE, at)) == int.from_bytes(EVERY_BYTE[at : at + 8].tobytes(), "little")


@given(st.integers(1, 2**64 - 1))
def test_outer_bits(value):
    expected = (value & -value).bit_length() - 1, value.bit_length() - 1, value.bit_count()
    assert outer_bits(np.uint64(value)) == expected


def test_no_bit_stands_behind_all():
    assert (outer_bits(np.uint64(0))[0], outer_bits(np.uint64(0))[2]) == (64, 0)


@pytest.mark.parametrize("size", [*range(20), 64, 70])
def test_a_word_depends_on_its_own_bytes_alone(size):
    """Buffers of any size, words of any length up to the very end."""
    data = EVERY_BYTE[:size].copy()
    for at in range(size):
        for length in range(-1, min(8, size - at) + 1):
            expected = int.from_bytes(data[at : at + max(0, length)].tobytes(), "little")
            assert int(word_at(data, at, length)) == expected


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200), st.sampled_from([10, 92, 0, 255]))
def test_find_is_that_of_bytes(raw, at, end, byte):
    end = min(end, len(raw))
    place = raw.find(bytes([byte]), at, end)
    assert find(np.frombuffer(raw, np.uint8), at, end, np.uint8(byte)) == (place if place >= 0 else end)


@given(st.text(st.sampled_from('ab {}:,\x7f\t"\\é中'), max_size=150), st.integers(0, 150), st.integers(0, 150))
def test_find_stop_is_that_of_a_loop(text, at, end):
    raw = text.encode()
    end = min(end, len(raw))
    stops = [i for i in range(at, end) if raw[i] < 32 or raw[i] >= 128 or raw[i] in b'"\\']
    assert find_stop(np.frombuffer(raw, np.uint8), at, end) == (stops[0] if stops else end)


@given(st.binary(max_size=40), st.integers(0, 5))
def test_copies_touch_nothing_else(raw, place):
    target = np.full(60, 7, np.uint8)
    copied(target, place, np.frombuffer(b"x" + raw, np.uint8), 1, len(raw))
    assert target.tobytes() == b"\7" * place + raw + b"\7" * (60 - place - len(raw))


@pytest.mark.parametrize("columns", [16, 32, 48, 128])
@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_minima_are_those_of_numpy(columns, count):
    rng = np.random.default_rng(columns + count)
    low, a, b = (rng.integers(0, 2**32, columns, dtype=np.uint32) for _ in range(3))
    values = rng.integers(0, 2**32, count + 5, dtype=np.uint32)
    chosen = values[3 : 3 + count]
    expected = np.minimum(low, (a[:, None] * chosen + b[:, None]).min(axis=1, initial=2**32 - 1))
    minima(low, a, b, values, 3, count)
    assert low.tolist() == expected.tolist()


@pytest.mark.parametrize("width", [1, 2, 3, 64])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 30])
def test_mixed_shingles_are_those_of_the_loop(width, count):
    rng = np.random.default_rng(width + count)
    tokens = rng.integers(0, 2**64, count + width + SHINGLES, dtype=np.uint64)
    out = np.full(3 + count + SHINGLES, 5, np.uint32)
    mixed(tokens, count, width, out, 3)
    made = np.empty(count + width, np.uint64)
    assert spelled_out(tokens[: count + width - 1], width, made) == count
    assert out[3 : 3 + count].tolist() == [int(fmix32(np.uint32(h & 0xFFFFFFFF))) for h in made[:count].tolist()]
    assert out[:3].tolist() == [5] * 3


@given(st.text(st.sampled_from("aé中😀 "), max_size=150), st.integers(0, 3))
def test_code_points_are_those_of_str(text, behind):
    raw = b"ab" + text.encode() + b"\x80" * behind
    assert code_points(np.frombuffer(raw, np.uint8), 2, len(raw) - behind) == len(text)
