"""Numba loops over Arrow buffers: nogil, compiled once per install and cached, the same result for any thread count.

Each kernel has a slow, obvious twin in tests/kernels. `_jit.kernel` states the signature, so importing a module
compiles it once; numba keeps the result beside the source or, where that is read-only, in the user's cache folder.
"""
