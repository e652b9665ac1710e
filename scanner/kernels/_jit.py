"""How every kernel is compiled: explicit signature, no GIL, cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

# Read-only array types accept writable arrays too; memory-mapped Arrow buffers are read-only.
U8R = types.Array(types.uint8, 1, "C", readonly=True)
U32R = types.Array(types.uint32, 1, "C", readonly=True)
U64R = types.Array(types.uint64, 1, "C", readonly=True)
I32R = types.Array(types.int32, 1, "C", readonly=True)
I64R = types.Array(types.int64, 1, "C", readonly=True)
B1R = types.Array(types.boolean, 1, "C", readonly=True)
U8 = types.Array(types.uint8, 1, "C")
U32 = types.Array(types.uint32, 1, "C")
U64 = types.Array(types.uint64, 1, "C")
I32 = types.Array(types.int32, 1, "C")
I64 = types.Array(types.int64, 1, "C")
U32_2D = types.Array(types.uint32, 2, "C")
U64_2D = types.Array(types.uint64, 2, "C")
F32 = types.Array(types.float32, 1, "C")
INT = types.int64
UINT64 = types.uint64
VOID = types.void


def kernel(signature: Any) -> Callable[[Any], Any]:
    """Compile for one signature, release the GIL, cache the machine code."""
    return njit(signature, nogil=True, cache=True, error_model="numpy")


