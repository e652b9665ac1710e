"""Many bytes at a time: the few machine operations that numba has no name for.

Loads of 8 bytes from any place of a buffer, the kinds of 64 bytes as bit masks, and a signature updated in vector
registers. They are written as LLVM's own vectors, which every processor gets in the widest instructions it has; a
processor without wide ones gets slower code with the same result.

Those whose names end in 64 trust the caller that the bytes lie inside the array; `word_at`, `find` and `find_stop`
look themselves.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from scanner.kernels._jit import shared

BLOCK = 64
"""Bytes that one bit mask describes."""
LANES = 16
"""Signature columns are updated in multiples of this."""
SHINGLES = 8
"""Shingles are made so many at a time."""

_I1, _I8, _I32, _I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES = ir.VectorType(_I8, BLOCK)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
SHINGLE_STEP = 0x9E3779B97F4A7C15
"""Odd, by which the polynomial of a shingle's tokens goes on."""
COMBINE_STEP = 0x9FB21C651E98DF25
"""The factor of hashing.combine."""


def _address(context, builder, kind, value, index):
    """Pointer to array[index]."""
    array = context.make_array(kind)(context, builder, value)
    return builder.gep(array.data, [index])


def _splat(vector, value):
    return ir.Constant(vector, [value] * vector.count)


def _load(builder, pointer, kind):
    """Read a value of any kind from a pointer that need not be aligned for it."""
    found = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    found.align = 1
    return found


def _within(builder, values, first, count):
    """Which bytes lie in first, first + 1, ... (count of them)."""
    return builder.icmp_unsigned("<", builder.sub(values, _splat(_BYTES, first)), _splat(_BYTES, count))


def _mixed(builder, value, shifts, factors):
    """MurmurHash3's finalisers: shifted onto itself and multiplied in turn."""
    for shift, factor in zip(shifts, (*factors, None), strict=True):
        value = builder.xor(value, builder.lshr(value, _splat(value.type, shift)))
        value = value if factor is None else builder.mul(value, _splat(value.type, factor))
    return value


@intrinsic
def load64(typing, data, at):
    """data[at:at + 8] as one little-endian word."""

    def emit(context, builder, signature, arguments):
        return _load(builder, _address(context, builder, signature.args[0], *arguments), _I64)

    return types.uint64(data, at), emit


@intrinsic
def kinds64(typing, data, at):
    """Three bit masks of data[at:at + 64], bit i for byte i: ASCII letters and digits, ASCII separators, non-ASCII."""

    def emit(context, builder, signature, arguments):
        found = _load(builder, _address(context, builder, signature.args[0], *arguments), _BYTES)

        letter = _within(builder, builder.or_(found, _splat(_BYTES, 0x20)), ord("a"), 26)
        word = builder.or_(letter, _within(builder, found, ord("0"), 10))
        space = builder.or_(_within(builder, found, 0, 33), _within(builder, found, 127, 1))
        masks = [word, space, _within(builder, found, 128, 128)]
        return context.make_tuple(builder, signature.return_type, [builder.bitcast(m, _I64) for m in masks])

    return types.UniTuple(types.uint64, 3)(data, at), emit


@intrinsic
def stops64(typing, data, at):
    """Bit mask of data[at:at + 64]: where a plain run of a JSON string ends (quote, backslash, control, non-ASCII)."""

    def emit(context, builder, signature, arguments):
        found = _load(builder, _address(context, builder, signature.args[0], *arguments), _BYTES)
        stops = builder.or_(_within(builder, found, 0, 32), _within(builder, found, 128, 128))
        for mark in b'"\\':
            stops = builder.or_(stops, _within(builder, found, mark, 1))
        return builder.bitcast(stops, _I64)

    return types.uint64(data, at), emit


@intrinsic
def equal64(typing, data, at, byte):
    """Bit mask of data[at:at + 64]: where this byte stands."""

    def emit(context, builder, signature, arguments):
        found = _load(builder, _address(context, builder, signature.args[0], *arguments[:2]), _BYTES)
        one = builder.insert_element(ir.Constant(_BYTES, ir.Undefined), arguments[2], ir.Constant(_I32, 0))
        everywhere = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, BLOCK), [0] * BLOCK))
        return builder.bitcast(builder.icmp_unsigned("==", found, everywhere), _I64)

    return types.uint64(data, at, types.uint8), emit


@intrinsic
def continued64(typing, data, at):
    """How many of data[at:at + 64] go on with a code point (0x80 to 0xBF)."""

    def emit(context, builder, signature, arguments):
        found = _load(builder, _address(context, builder, signature.args[0], *arguments), _BYTES)
        return builder.ctpop(builder.bitcast(_within(builder, found, 128, 64), _I64))

    return types.int64(data, at), emit


@intrinsic
def copy_bytes(typing, target, place, data, at, count):
    """target[place:place + count] = data[at:at + count]; the two do not overlap."""

    def emit(context, builder, signature, arguments):
        target, place, data, at, count = arguments
        into = _address(context, builder, signature.args[0], target, place)
        source = _address(context, builder, signature.args[2], data, at)
        cgutils.raw_memcpy(builder, into, source, count, 1)
        return context.get_dummy_value()

    return types.void(target, types.int64, data, types.int64, types.int64), emit


@intrinsic
def lowest_bit(typing, mask):
    """Place of the lowest bit of a mask; 64 where there is none."""

    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(_I1, 0))

    return types.int64(types.uint64), emit


@intrinsic
def highest_bit(typing, mask):
    """Place of the highest bit of a mask that is not 0."""

    def emit(context, builder, signature, arguments):
        return builder.sub(ir.Constant(_I64, 63), builder.ctlz(arguments[0], ir.Constant(_I1, 1)))

    return types.int64(types.uint64), emit


@intrinsic
def bits_set(typing, mask):
    """How many bits of a mask are set."""

    def emit(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), emit


@intrinsic
def take_minima(typing, low, a, b, values, first, count):
    """low[j] = min(low[j], a[j] * v + b[j] mod 2^32) for all v of values[first:first + count].

    low, a, b: (p,) uint32, p a multiple of LANES · values: uint32. Two groups of LANES columns at a time stay in
    registers while the values go by, so that the loop does nothing but multiply, add and compare.
    """

    def emit(context, builder, signature, arguments):
        low, a, b, values, at, count = arguments
        kinds = signature.args
        size = context.make_array(kinds[0])(context, builder, low).nitems

        def group(first, width):
            vector = ir.VectorType(_I32, width)
            place, factor, shift = (
                _address(context, builder, kind, array, first)
                for kind, array in zip(kinds[:3], (low, a, b), strict=True)
            )
            factor, shift = _load(builder, factor, vector), _load(builder, shift, vector)
            best = cgutils.alloca_once_value(builder, _load(builder, place, vector))
            with cgutils.for_range(builder, count) as loop:
                value = builder.load(_address(context, builder, kinds[3], values, builder.add(at, loop.index)))
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
                spread = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, width), [0] * width))
                mixed = builder.add(builder.mul(factor, spread), shift)
                before = builder.load(best)
                builder.store(builder.select(builder.icmp_unsigned("<", mixed, before), mixed, before), best)
            stored = builder.store(builder.load(best), builder.bitcast(place, vector.as_pointer()))
            stored.align = 1

        double = ir.Constant(_I64, 2 * LANES)
        pairs = builder.udiv(size, double)
        with cgutils.for_range(builder, pairs) as loop:
            group(builder.mul(loop.index, double), 2 * LANES)
        done = builder.mul(pairs, double)
        with builder.if_then(builder.icmp_unsigned("<", done, size)):
            group(done, LANES)
        return context.get_dummy_value()

    return types.void(low, a, b, values, types.int64, types.int64), emit


@intrinsic
def mix_shingles(typing, tokens, count, width, out, at):
    """out[at + i] = minhash's 32-bit mix of the shingle tokens[i:i + width], for i < count, SHINGLES at a time.

    tokens: uint64 · out: uint32. Up to SHINGLES - 1 places more are read and written: both need that much room.
    """

    def emit(context, builder, signature, arguments):
        tokens, count, width, out, at = arguments
        wide, narrow = ir.VectorType(_I64, SHINGLES), ir.VectorType(_I32, SHINGLES)
        size = ir.Constant(_I64, SHINGLES)

        first = builder.mul(width, ir.Constant(_I64, SHINGLE_STEP))
        one = builder.insert_element(ir.Constant(wide, ir.Undefined), first, ir.Constant(_I32, 0))
        start = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, SHINGLES), [0] * SHINGLES))
        sums = cgutils.alloca_once(builder, wide)
        with cgutils.for_range(
            builder, builder.udiv(builder.add(count, ir.Constant(_I64, SHINGLES - 1)), size)
        ) as loop:
            here = builder.mul(loop.index, size)
            place = _address(context, builder, signature.args[0], tokens, here)
            builder.store(builder.add(start, _load(builder, place, wide)), sums)
            with cgutils.for_range(builder, width, start=ir.Constant(_I64, 1)) as later:
                place = _address(context, builder, signature.args[0], tokens, builder.add(here, later.index))
                before = builder.mul(builder.load(sums), _splat(wide, SHINGLE_STEP))
                builder.store(builder.add(before, _load(builder, place, wide)), sums)
            mixed = _mixed(builder, builder.load(sums), (33, 33, 33), (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53))
            mixed = _mixed(builder, builder.trunc(mixed, narrow), (16, 13, 16), (0x85EBCA6B, 0xC2B2AE35))
            place = _address(context, builder, signature.args[3], out, builder.add(at, here))
            stored = builder.store(mixed, builder.bitcast(place, narrow.as_pointer()))
            stored.align = 1
        return context.get_dummy_value()

    return types.void(tokens, types.int64, types.int64, out, types.int64), emit


@intrinsic
def hash_tokens(typing, first, second, starts, ends, at, count, seed, out):
    """out[i] = hash of the ASCII token i, for at <= i < at + count, SHINGLES at a time; whether any may be longer.

    fmix64(combine(combine(seed, word 1), word 2)), see hashing: the token's bytes in two words, letters made lower
    case, zeros behind them. Tokens of more than 16 bytes get another value.
    first, second: uint64, the 8 bytes from the token's first and from its ninth, and what follows them · starts, ends:
    int64, only their difference counts · out: uint64. Up to SHINGLES - 1 places more are read and written: all need
    that much room.
    """

    def emit(context, builder, signature, arguments):
        *arrays, at, count, seed, out = arguments
        wide, size = ir.VectorType(_I64, SHINGLES), ir.Constant(_I64, SHINGLES)
        one = builder.insert_element(ir.Constant(wide, ir.Undefined), seed, ir.Constant(_I32, 0))
        start = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, SHINGLES), [0] * SHINGLES))
        longer = cgutils.alloca_once_value(builder, ir.Constant(_I8, 0))
        blocks = builder.udiv(builder.add(count, ir.Constant(_I64, SHINGLES - 1)), size)
        with cgutils.for_range(builder, blocks) as loop:
            here = builder.add(at, builder.mul(loop.index, size))
            words = [
                _load(builder, _address(context, builder, kind, array, here), wide)
                for kind, array in zip(signature.args[:4], arrays, strict=True)
            ]
            length = builder.sub(words[3], words[2])
            is_long = builder.icmp_unsigned(">", length, _splat(wide, 16))
            builder.store(builder.or_(builder.load(longer), builder.bitcast(is_long, _I8)), longer)
            letter = builder.or_(builder.and_(words[0], _splat(wide, 0xFF)), _splat(wide, 0x20))
            letter = builder.icmp_unsigned("<", builder.sub(letter, _splat(wide, ord("a"))), _splat(wide, 26))
            several = builder.icmp_unsigned(">", length, _splat(wide, 1))  # only words have two bytes or more
            lower = _splat(wide, 0x2020202020202020)  # a digit with this bit is the same digit
            lower = builder.select(builder.or_(letter, several), lower, _splat(wide, 0))
            h = start
            for word, before in zip(words[:2], (0, 8), strict=True):
                bits = builder.shl(builder.sub(length, _splat(wide, before)), _splat(wide, 3))
                bits = builder.select(builder.icmp_signed("<", bits, _splat(wide, 64)), bits, _splat(wide, 64))
                some = builder.lshr(_splat(wide, (1 << 64) - 1), builder.and_(builder.neg(bits), _splat(wide, 63)))
                some = builder.select(builder.icmp_signed(">", bits, _splat(wide, 0)), some, _splat(wide, 0))
                h = builder.xor(h, builder.and_(builder.or_(word, lower), some))
                h = builder.mul(h, _splat(wide, COMBINE_STEP))
                h = builder.xor(h, builder.lshr(h, _splat(wide, 32)))
            h = _mixed(builder, h, (33, 33, 33), (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53))
            place = _address(context, builder, signature.args[7], out, here)
            stored = builder.store(h, builder.bitcast(place, wide.as_pointer()))
            stored.align = 1
        return builder.icmp_unsigned("!=", builder.load(longer), ir.Constant(_I8, 0))

    return types.boolean(first, second, starts, ends, types.int64, types.int64, types.uint64, out), emit


@shared
def word_at(data, at, length):
    """The first `length` (at most 8) bytes of data[at:] as one little-endian word, zeros after them; 0 for length < 1.

    Never looks outside `data`, and what it gives does not depend on what follows these bytes.
    """
    if length < 1:
        return np.uint64(0)
    size = len(data)
    if at + 8 <= size:
        word = load64(data, at)
    elif size >= 8:
        word = load64(data, size - 8) >> np.uint64(8 * (at + 8 - size))
    else:
        word = np.uint64(0)
        for i in range(size - at):
            word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    if length < 8:
        word &= _ALL >> np.uint64(64 - 8 * length)
    return word


@shared
def code_points(data, at, end):
    """Code points that begin in data[at:end]: its bytes but for those that go on with a code point."""
    points = end - at
    while at + BLOCK <= end:
        points -= continued64(data, at)
        at += BLOCK
    for i in range(at, end):
        points -= data[i] & 0xC0 == 0x80
    return points


@shared
def find(data, at, end, byte):
    """The first place of `byte` in data[at:end]; end where there is none."""
    size = len(data)
    while at < end:
        if at + BLOCK <= size:
            mask = equal64(data, at, byte)
        elif size >= BLOCK:
            mask = equal64(data, size - BLOCK, byte) >> np.uint64(at + BLOCK - size)
        else:
            mask = np.uint64(data[at] == byte)
            if not mask:
                at += 1
                continue
        if mask:
            return min(end, at + lowest_bit(mask))
        at += BLOCK
    return end


@shared
def find_stop(data, at, end):
    """The first quote, backslash, control or non-ASCII byte of data[at:end]; end where there is none."""
    size = len(data)
    while at < end:
        if at + BLOCK <= size:
            mask = stops64(data, at)
        elif size >= BLOCK:
            mask = stops64(data, size - BLOCK) >> np.uint64(at + BLOCK - size)
        else:
            byte = data[at]
            if not (byte < 0x20 or byte >= 0x80 or byte == 34 or byte == 92):
                at += 1
                continue
            mask = np.uint64(1)
        if mask:
            return min(end, at + lowest_bit(mask))
        at += BLOCK
    return end
