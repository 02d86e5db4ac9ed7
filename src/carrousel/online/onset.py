"""Where a stream left its line, and whether by a step or a bend: the explanation of a change that has been decided."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BLOCK = 8  # rows with a value between two judgements
MIDDLE = (BLOCK - 1) / (2.0 * BLOCK)  # age of a block's middle at its last row, as a share of the block
RECENT = 12  # blocks whose means are kept
QUANTILE = 1.96
# A cumulative sum since it last left 0: how many blocks and usual steps, Σ d, Σ τ d and Σ τ² of the distances d of the
# blocks from the line as it was then, that line, and how many rows since the last change there had been.
RUN = ("sum", "blocks", "elapsed", "d", "td", "tt", "slope", "level", "mark")
ALLOWANCE = 0.5  # of the cumulative sums, in deviations of a block's mean
_SIGN = np.array([[1.0], [-1.0]])
LIMIT = 11.0  # 97.5% quantile of the limit of (estimated − true onset) · δ²/ω²


class Onset(NamedTuple):
    """Of each of M changes, (M,).

    Parameters
    ----------
    change : int8, 1 a step, 2 a bend
    level, slope : of the line behind it, at the last row
    blocks : from the onset on; the first of them may lie on both sides of it
    ago : the onset, in blocks before the last row
    margin : rows, of a 95% interval of the onset, without the length of a block
    """

    change: npt.NDArray[np.int8]
    level: Floats
    slope: Floats
    blocks: Floats
    ago: Floats
    margin: Floats


def run_on(runs: Floats, mean: Floats, z: Floats, elapsed: Floats) -> None:
    """Move cumulative sums on by a block, in place.

    Parameters
    ----------
    runs : (9, 2, M), as ``RUN`` says, upwards and downwards
    mean, z : (M,), of the block, and its distance from the line in deviations of such a mean
    elapsed : (M,), usual steps that the block took

    References
    ----------
    Page 1954, Continuous Inspection Schemes, Biometrika 41.
    """
    middle = runs[2] + elapsed * (1.0 - MIDDLE)
    distance = mean - (runs[7] + runs[6] * middle)
    runs[0] += _SIGN * z
    runs[0] -= ALLOWANCE
    runs[1] += 1.0
    runs[2] += elapsed
    runs[3] += distance
    runs[4] += middle * distance
    runs[5] += middle * middle


def explain(run: Floats, recent: Floats, noise: Floats) -> Onset:
    """The step or bend that leaves least of the squared distances from the line as it was.

    Every one of the last 12 blocks is tried as the place of the onset, and the beginning of the run where that lies
    before them. A step may fall into a block, a bend begins with one.

    Parameters
    ----------
    run : (9, M), as ``RUN`` says, of the cumulative sum in the direction of the change
    recent : (12, M), means of the last blocks
    noise : (M,), long-run standard deviation ω of a row

    References
    ----------
    Interval of the onset of a step of size δ, ± 11 ω²/δ² rows: Bai 1997, Estimation of a Change Point in Multiple
    Regression Models, REStat 79 (§II.C). That of a bend is the uncertainty of the line there over the bend.
    """
    _, blocks, elapsed, d, td, tt, slope, level, _ = run
    duration = elapsed / blocks
    back = np.arange(RECENT, 0, -1)[:, None]  # blocks from the onset on, m
    valid = back <= blocks
    distance = recent - (level + slope * (elapsed - duration * (back - 1.0 + MIDDLE)))
    distance = np.where(valid, distance, 0.0)
    most = np.maximum(np.max(np.abs(distance), axis=0), 1e-290)
    distance /= most
    total = np.add.accumulate(distance[::-1], axis=0)[::-1]  # Σ d over m blocks
    later = np.concatenate([total[1:], np.zeros_like(total[:1])])  # all but the first of them
    size = np.where(back > 1, later / np.maximum(back - 1, 1), total)
    share = np.clip(distance / size, 0.0, 1.0)  # of the first block that lies behind the onset
    steps = total * total / back
    inside = np.where((share > 0.0) & (share < 1.0) & (back > 1), distance**2 + later * size, 0.0)
    steps = np.maximum(steps, inside) * valid
    offset = 0.5 - MIDDLE  # τ of the middle of block i = 1 … m, in blocks, is i − 0.5 + offset
    moment = np.add.accumulate(total[::-1], axis=0)[::-1] - total * (0.5 - offset)  # Σ τ d
    squares = back**3 / 3.0 - back / 12.0 + back**2 * offset + back * offset**2  # Σ τ²
    bends = moment * moment / squares * valid
    before = blocks > RECENT
    step_before = np.where(before, (d / most) ** 2 / blocks, 0.0)
    bend_before = np.where(before, (td / most) ** 2 / tt, 0.0)
    # Over few blocks the two are alike: a bend must explain more, by the variance of a block.
    bends = np.concatenate([bend_before[None], bends]) - (noise / most) ** 2 / BLOCK
    best = np.concatenate([step_before[None], steps, bends]).argmax(axis=0)

    is_step, place = best <= RECENT, best % (RECENT + 1)
    whole = place == 0
    cell = np.maximum(place - 1, 0), np.arange(len(blocks))
    m = np.where(whole, blocks, RECENT + 1.0 - place)
    step = np.where(whole, d / blocks, size[cell] * most)
    bend = np.where(whole, td / tt, moment[cell] / squares[cell[0], 0] * most / duration)
    partly = is_step & ~whole & (m > 1.0)
    far = np.where(
        is_step, LIMIT * (noise / step) ** 2, 2.0 * QUANTILE * noise / np.abs(bend * duration) / np.sqrt(m / BLOCK)
    )
    return Onset(
        change=np.where(is_step, 1, 2).astype(np.int8),
        level=level + slope * elapsed + np.where(is_step, step, bend * m * duration),
        slope=np.where(is_step, slope, slope + bend),
        blocks=m,
        ago=m - 1.0 + np.where(partly, share[cell], 1.0),
        margin=far,
    )
