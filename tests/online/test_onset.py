"""The onset of a change: against every place, step and bend tried one by one, and what the answer means."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.online.onset import BLOCK, RECENT, explain, run_on


def told(means, *, noise=0.3, slope=0.1, level=5.0):
    """The explanation of a run over all of these blocks, whose line was as given at the row before them."""
    middles = BLOCK * np.arange(len(means)) + (BLOCK + 1) / 2
    runs = np.zeros((9, 2, 1))
    runs[6], runs[7] = slope, level
    recent = np.zeros((RECENT, 1))
    for distance, middle in zip(means, middles, strict=True):
        mean = np.array([level + slope * middle + distance])
        run_on(runs, mean, np.array([2.0]), np.array([float(BLOCK)]))
        recent = np.concatenate([recent[1:], mean[None]])
    onset = explain(runs[:, 0], recent, np.array([noise]))
    return onset.change[0], *(float(part[0]) for part in (onset.level, onset.slope, onset.blocks, onset.ago))


def searched(d, noise=0.3, slope=0.1, level=5.0):
    """The same by trying every place among the blocks."""
    best = (-np.inf,)
    for m in range(len(d), 0, -1):
        last, tau = d[-m:], np.arange(m) + (BLOCK + 1) / 2 / BLOCK
        size = last[1:].mean() if m > 1 else last[0]
        share = np.clip(last[0] / size, 0, 1)
        explained = last.sum() ** 2 / m
        if m > 1 and 0 < share < 1:
            explained = max(explained, last[0] ** 2 + (m - 1) * size**2)
        beta = (tau @ last) / (tau @ tau)
        end = level + slope * BLOCK * len(d)
        best = max(best, (explained, 1, end + size, slope, m, m - 1 + (share if m > 1 else 1.0)))
        bent = beta**2 * (tau @ tau) - noise**2 / BLOCK
        best = max(best, (bent, 2, end + beta * m, slope + beta / BLOCK, m, m))
    return best[1:]


@pytest.mark.parametrize("seed", range(40))
def test_explanation_is_the_best_of_all_places_tried_one_by_one(seed):
    random = np.random.default_rng(seed)
    blocks, begin = int(random.integers(2, RECENT + 1)), int(random.integers(0, 6))
    after = np.maximum(np.arange(blocks) - begin + 1, 0)
    d = random.normal(0, 0.2, blocks) + (after * 0.7 if seed % 2 else 3.0 * np.sign(after))
    np.testing.assert_allclose(told(d), searched(d), rtol=1e-9)


def test_a_step_inside_a_block_is_placed_there():
    change, level, slope, _, ago = told(np.array([0.0, 0.0, 0.0, 1.0, 4.0, 4.0]))
    assert change == 1
    assert ago == pytest.approx(2.25)
    assert (level, slope) == (pytest.approx(5.0 + 0.1 * 48 + 4.0), 0.1)


def test_an_exact_bend_is_placed_at_its_beginning_with_its_slope():
    middle = np.arange(RECENT) + (BLOCK + 1) / 2 / BLOCK
    d = np.where(np.arange(RECENT) >= 5, 2.0 * (middle - 5), 0.0)
    change, level, slope, blocks, ago = told(d)
    assert (change, blocks, ago) == (2, 7.0, 7.0)
    assert slope == pytest.approx(0.1 + 2.0 / BLOCK)
    assert level == pytest.approx(5.0 + 0.1 * BLOCK * RECENT + 2.0 * 7)


@pytest.mark.parametrize(("bend", "kind"), [(False, 1), (True, 2)])
def test_a_run_longer_than_what_is_kept_is_explained_from_its_beginning(bend, kind):
    middle = np.arange(30) + (BLOCK + 1) / 2 / BLOCK
    change, level, slope, blocks, ago = told(0.5 * middle if bend else np.full(30, 1.5))
    assert (change, blocks, ago) == (kind, 30.0, 30.0)
    assert slope == pytest.approx(0.1 + 0.5 / BLOCK if bend else 0.1)
    assert level == pytest.approx(5.0 + 0.1 * 240 + (15.0 if bend else 1.5))
