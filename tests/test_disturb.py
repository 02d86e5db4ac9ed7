"""Disturbances of calm telemetry, which settings are judged by: only what is labelled is disturbed."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from benchmark import load
from carrousel.data.labelled import LabelledSeries

ROWS = 900


@pytest.fixture(scope="module")
def disturb() -> ModuleType:
    return load("disturb")


def calm(seed: int, *, still: bool = False) -> LabelledSeries:
    random = np.random.default_rng(seed)
    y = np.zeros(2 * ROWS) if still else np.sin(np.arange(2 * ROWS) / 20) + 0.1 * random.normal(size=2 * ROWS)
    both = np.column_stack([y, random.integers(0, 2, 2 * ROWS).astype(np.float64)])
    return LabelledSeries(
        name=f"calm {seed}",
        category="calm",
        stamps=np.arange(ROWS),
        values=both[ROWS:],
        windows=np.zeros((0, 2), np.int64),
        train=both[:ROWS],
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_label_is_from_the_first_to_the_last_row_that_differs(disturb: ModuleType, seed: int) -> None:
    one = calm(seed)
    before = one.values.copy()
    copies = disturb.disturbed(one, 40, seed=seed)
    assert len(copies) == 40
    assert (one.values == before).all()
    for copy in copies:
        ((start, stop),) = copy.windows.tolist()
        changed = np.flatnonzero(copy.values[:, 0] != one.values[:, 0])
        assert (changed[0], changed[-1] + 1) == (start, stop)
        assert 0.3 * ROWS - 1 <= start < stop <= ROWS
        assert np.abs(copy.values - one.values).max() >= 0.5 * one.train[:, 0].std()
        assert (copy.values[:, 1:] == one.values[:, 1:]).all()
        assert (copy.train == one.train).all()


def test_the_seed_makes_the_copies(disturb: ModuleType) -> None:
    first, same, other = (disturb.disturbed(calm(0), 20, seed=seed) for seed in (1, 1, 2))
    assert all((a.values == b.values).all() for a, b in zip(first, same, strict=True))
    assert not all((a.values == b.values).all() for a, b in zip(first, other, strict=True))


def test_every_kind_is_seen_on_a_lively_series_and_some_on_a_still_one(disturb: ModuleType) -> None:
    stretch = disturb.Stretch(calm(3).values[:, 0], 400, 460, 0.7, 2.0)
    for name, kind in disturb.KINDS.items():
        wrong = kind(np.random.default_rng(0), stretch)
        assert wrong.shape == (60,), name
        assert np.abs(wrong - stretch.own).max() > 0.1, name
    assert len(disturb.disturbed(calm(0, still=True), 20, seed=0)) == 20
