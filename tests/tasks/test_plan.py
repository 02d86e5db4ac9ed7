"""The windows that the linear path is fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.data.panel import Panel
from carrousel.features.window import carry_forward
from carrousel.tasks import plan
from carrousel.tasks.plan import Blocks, Split

HORIZON = 3


def split(*lengths: int, targets: int = 2) -> Split:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    target = np.random.default_rng(0).standard_normal((int(starts[-1]), targets))
    target[::5, 0] = np.nan
    panel = Panel(
        ids=tuple(f"s{i}" for i in range(len(lengths))), starts=starts, ds=np.arange(starts[-1]), target=target,
        past=np.empty((starts[-1], 0)), future=np.empty((starts[-1], 0)), static=np.empty((len(lengths), 0)),
        target_names=tuple(f"y{k}" for k in range(targets)), past_names=(), future_names=(),
    )  # fmt: skip
    return Split(panel=panel, fit_rows=np.array(lengths) - HORIZON, horizon=HORIZON)


@pytest.mark.parametrize("lengths", [(40, 25, 9, 50), (12,)])
@pytest.mark.parametrize("long", [6, 10, 1000])
def test_blocks_hold_every_window_row_by_row(
    lengths: tuple[int, ...], long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BLOCK", 7)
    monkeypatch.setattr(plan, "LONG", long)
    parts, look_back = split(*lengths), 16  # longer than some series, whose windows begin before them
    filled = carry_forward(parts.panel.target, parts.panel.starts)
    origins = parts.train_origins(look_back, 4)
    expected = [(int(np.searchsorted(parts.panel.starts, origin, side="right")) - 1, int(origin)) for origin in origins]
    for k in range(2):
        found = [block for block in Blocks(parts, filled, origins, look_back)() if block[1] == k]
        assert all(0 < len(owner) == len(x) == len(y) <= 7 for owner, _, x, y in found)
        rows = [(*row, owner) for owners, _, x, y in found for owner, *row in zip(owners, x, y, strict=True)]
        assert len(rows) == len(origins)
        for (x, y, owner), (series, origin) in zip(rows, expected, strict=True):
            behind = np.maximum(np.arange(origin - look_back, origin), parts.panel.starts[series])
            assert owner == series
            np.testing.assert_array_equal(x, filled[behind, k])
            np.testing.assert_array_equal(y, parts.panel.target[origin : origin + HORIZON, k])
