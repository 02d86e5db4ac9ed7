"""Random words from a counter, in NumPy: the specification of native/mask.h, and what runs where that was not built.

Philox4x32-10: Salmon, Moraes, Dror & Shaw 2011, *Parallel Random Numbers: As Easy as 1, 2, 3*, SC (§3.3). A word
depends on its counter and a key, on nothing drawn before it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

ROUNDS = 10
FACTORS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85
"""What the key grows by between two rounds: the golden ratio, √3 − 1."""

BLOCKS = 16
"""Neighbouring blocks whose words lie beside each other, that vectors of any width may write what they hold."""


def philox(counter: Words, key: int) -> Words:
    """The four words of each counter.

    Parameters
    ----------
    counter : uint32 (n, 4)
    key : 64 bits

    Returns
    -------
    uint32 (n, 4)
    """
    a, b, c, d = counter.T
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(ROUNDS):
        p, q = a * FACTORS[0], c * FACTORS[1]  # uint64
        a, c = (
            (high >> np.uint64(32)).astype(np.uint32) ^ other ^ np.uint32(of_key)
            for high, other, of_key in ((q, b, k[0]), (p, d, k[1]))
        )
        b, d = q.astype(np.uint32), p.astype(np.uint32)
        k = [(of_key + grows) & 0xFFFFFFFF for of_key, grows in zip(k, WEYL, strict=True)]
    return np.stack([a, b, c, d], 1)


def words(key: int, count: int) -> Words:
    """The words of elements 0 … count − 1, uint32 (count,).

    Element i is word ⌊i/16⌋ mod 4 of block 16·⌊i/64⌋ + i mod 16; block b has the counter (b mod 2³², ⌊b/2³²⌋, 0, 0).
    """
    groups = -(-count // (4 * BLOCKS))
    block = np.arange(groups * BLOCKS, dtype=np.uint64)
    counter = np.zeros((len(block), 4), np.uint32)
    counter[:, 0], counter[:, 1] = block & np.uint64(0xFFFFFFFF), block >> np.uint64(32)
    return philox(counter, key).reshape(groups, BLOCKS, 4).swapaxes(1, 2).reshape(-1)[:count]
