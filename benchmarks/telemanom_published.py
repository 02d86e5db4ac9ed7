"""What Telemanom's authors found in the rover's channels: two runs whose detections lie beside its program.

Source: github.com/khundman/telemanom, its files results/2018-05-19_15.00.10.csv, of the paper's run, and
results/2019-11-14_11.34.30.csv, with networks trained anew. A detection is its first and its last row in the test part;
the right and the wrong ones are both here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Runs = Mapping[str, tuple[tuple[int, int], ...]]

PAPER = (0.926, 0.694)  # precision and recall of the paper's table

RUN_2018: Runs = {
    "M-6": ((1815, 2038),),
    "S-2": ((806, 1064),),
    "P-10": ((4590, 5009),),
    "T-5": ((1114, 1381),),
    "F-7": (
        (1322, 1576),
        (1967, 2206),
        (2700, 2839),
    ),
    "M-3": ((1372, 1652),),
    "M-4": ((1315, 1595),),
    "M-5": ((1529, 1793),),
    "P-15": ((1300, 1567),),
    "C-1": ((500, 757),),
    "C-2": ((250, 445),),
    "T-12": ((616, 852),),
    "F-4": ((2700, 2839),),
    "F-5": ((3540, 3813),),
    "D-14": ((1891, 2119),),
    "P-14": ((4590, 4869),),
    "T-8": (
        (786, 1036),
        (1273, 1488),
    ),
    "P-11": (
        (1190, 1464),
        (1750, 2010),
    ),
    "D-15": ((1751, 2147),),
    "D-16": ((726, 957),),
    "M-7": ((861, 1156),),
    "F-8": ((1915, 2238),),
}

RUN_2019: Runs = {
    "M-6": ((1816, 2038),),
    "S-2": ((807, 1065),),
    "P-10": ((4590, 4799),),
    "T-4": ((500, 812),),
    "T-5": ((1115, 1378),),
    "F-7": (
        (1303, 1576),
        (1971, 2173),
        (2700, 2839),
    ),
    "M-4": ((1338, 1586),),
    "M-5": ((1463, 1791),),
    "C-1": ((500, 760),),
    "C-2": ((250, 443),),
    "T-12": ((617, 843),),
    "F-4": ((2700, 2769),),
    "F-5": ((3540, 3811),),
    "D-14": ((1789, 2123),),
    "P-14": ((4590, 4799),),
    "T-8": (
        (787, 1034),
        (1274, 1488),
    ),
    "P-11": (
        (1205, 1462),
        (1751, 2008),
    ),
    "D-15": ((1753, 2147),),
    "D-16": ((700, 951),),
    "M-7": ((863, 1154),),
    "F-8": ((1909, 2212),),
}


def published(run: Runs, channel: str) -> Ints:
    """The events of a channel, rows start:stop, int64 (W, 2)."""
    return np.array([(first, last + 1) for first, last in run.get(channel, ())], np.int64).reshape(-1, 2)
