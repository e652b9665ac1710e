"""What the visits of copies are worth together, step by step (see scanner.sampling)."""

from __future__ import annotations

from numba import types

from scanner.kernels._jit import B1R, I64, I64R, U8, VOID, kernel

_F64 = types.Array(types.float64, 1, "C")
_F64R = types.Array(types.float64, 1, "C", readonly=True)


@kernel(VOID(I64R, I64R, _F64R, _F64R, I64R, I64R, _F64R, _F64R, B1R, types.float64, I64, I64, _F64, _F64, _F64, U8))
def meet(first, of, kappa, kappa_power, begin, step, worth, power, many, exponent,
         seen, touched, alone, joint, met, meets):  # fmt: skip
    """Add to met (t,) what every text gets from its own visits and those of its copies, and mark in meets who meets.

    Text i learns from the texts of[first[i]:first[i + 1]], itself among them, each worth kappa (kappa_power is
    kappa ** (1 / exponent)). Text j is visited in the steps step[begin[j]:begin[j + 1]], each named once, with the sum
    of its visits' doses in worth, of their powers 1 / exponent in power, and many where there are several. What comes
    in one step is worth the sum of the powers to the `exponent`. seen, touched, alone, joint: room for every step;
    seen holds zeros before and after.
    """
    for i in range(len(met)):
        steps = 0
        for pair in range(first[i], first[i + 1]):
            j = of[pair]
            for visit in range(begin[j], begin[j + 1]):
                at = step[visit]
                if seen[at] == 0:
                    touched[steps] = at
                    steps += 1
                    alone[at] = kappa[pair] * worth[visit]
                    joint[at] = 0.0
                joint[at] += kappa_power[pair] * power[visit]
                seen[at] += 2 if many[visit] else 1
        for k in range(steps):
            at = touched[k]
            if seen[at] > 1:
                met[i] += joint[at] ** exponent
                meets[i] = 1
            else:
                met[i] += alone[at]
            seen[at] = 0
