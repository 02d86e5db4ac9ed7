"""Numbers of which the upper bits are kept."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.online.upper import Upper


@pytest.mark.parametrize("bits", [16, 24])
def test_the_nearest_number_of_so_many_bits_is_kept_and_said(bits: int):
    random = np.random.default_rng(0)
    x = random.normal(size=5_000) * 10.0 ** random.uniform(-30, 30, 5_000)
    x = np.concatenate([x, [0.0, 1.0, -1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-16, 1 + 3 * 2.0**-16]])
    upper = np.zeros(len(x), np.uint16)
    kept = Upper(upper, np.zeros(len(x), np.uint8) if bits == 24 else None)
    cells = np.arange(len(x))
    said = kept.put(cells, x)
    np.testing.assert_array_equal(kept[cells], said)
    mantissa, exponent = np.frexp(x.astype(np.float32).astype(np.float64))
    unit = 2.0 ** (bits - 8)  # of the digits of a mantissa from a half to one
    np.testing.assert_array_equal(said, np.ldexp(np.rint(mantissa * unit) / unit, exponent))
    assert kept.item(1) == said[1]
    assert kept.put_item(2, 3.0) == kept.item(2) == 3.0
