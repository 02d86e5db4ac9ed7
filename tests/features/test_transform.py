"""The transform of the target: its inverse gives back what went in, order is kept, nothing overflows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from carrousel.features.transform import Transform

POSITIVE = st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20)


@given(POSITIVE)
def test_a_logarithm_and_its_inverse_give_back_the_values(values: list[float]):
    y = np.array(values)
    transform = Transform.log(y)
    assert transform is not None
    np.testing.assert_allclose(transform.invert(transform.apply(y)), y, rtol=1e-12)


def test_values_without_a_logarithm_have_no_such_transform():
    assert Transform.log(np.array([1.0, 0.0])) is None
    assert Transform.log(np.array([1.0, -2.0])) is None
    assert Transform.log(np.array([np.nan])) is None


def test_a_later_value_without_a_logarithm_is_read_as_half_the_least_one():
    transform = Transform.log(np.array([4.0, 10.0]))
    assert transform is not None
    np.testing.assert_allclose(transform.invert(transform.apply(np.array([0.0, -5.0, 7.0]))), [2.0, 2.0, 7.0])
    assert np.isnan(transform.apply(np.array([np.nan]))[0])


def test_an_extreme_forecast_stays_finite():
    assert np.isfinite(Transform("log", 1.0).invert(np.array([1e6]))).all()
