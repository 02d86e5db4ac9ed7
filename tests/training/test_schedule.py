"""The learning rate over a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.training import learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "fraction", "warmup", "factor"),
    [
        ("constant", 0.7, None, 1.0),
        ("linear", 0.25, None, 0.75),
        ("linear", 0.6, 0.2, 0.5),
        ("cosine", 0.0, None, 1.0),
        ("cosine", 1 / 3, None, 0.75),
        ("cosine", 1.0, None, 0.0),
        ("cosine", 0.05, 0.1, 0.04 + 0.96 / 2),
        ("one_cycle", 0.0, None, 0.04),
        ("one_cycle", 0.1, None, 0.04 + 0.96 * (1 - math.cos(math.pi / 3)) / 2),
        ("one_cycle", 0.3, None, 1.0),
        ("one_cycle", 0.65, None, 0.5),
    ],
)
def test_schedule_follows_its_formula(schedule, fraction: float, warmup: float | None, factor: float) -> None:
    assert learning_rate_factor(schedule, fraction, warmup) == pytest.approx(factor, abs=1e-12)


@given(
    st.sampled_from(["constant", "linear", "cosine", "one_cycle"]),
    st.floats(0, 1),
    st.none() | st.floats(0, 0.99),
)
def test_schedule_stays_between_zero_and_its_peak(schedule, fraction: float, warmup: float | None) -> None:
    assert 0 <= learning_rate_factor(schedule, fraction, warmup) <= 1
