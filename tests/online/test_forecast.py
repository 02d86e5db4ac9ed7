"""Quantiles and surprise: against their formulas, and the twin with gradients."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.online.baseline import Baseline, feature_count
from carrousel.online.forecast import HORIZONS, QUANTILES, Forecast, head_size, quantiles, surprise


def test_quantiles_ascend_around_the_mixture_of_the_candidates():
    head = np.zeros(head_size())
    head[:4] = [0, -np.inf, 0, -np.inf]
    candidates = np.array([2.0, 100, 4.0, 100])
    found = quantiles(head, candidates)
    # Even shares of 2 and 4; all gaps are softplus(0.5413) = 1 spreads, and a spread is e^-1.5.
    np.testing.assert_allclose(found, 3 + np.arange(-3, 4) * np.exp(-1.5), rtol=1e-4)


def test_quantiles_are_those_of_the_twin_with_gradients():
    torch = pytest.importorskip("torch")
    from carrousel.tasks import detect_fit

    rng = np.random.default_rng(0)
    head = rng.normal(size=(50, len(HORIZONS) * head_size())) * 3
    features = rng.normal(size=(50, feature_count(HORIZONS))) * 2
    candidates = np.zeros((50, len(HORIZONS), 4))
    candidates[:, :, 0] = features[:, :1]
    candidates[:, :, 2:] = features[:, 2 : 2 + 2 * len(HORIZONS)].reshape(50, -1, 2)
    found = quantiles(head.reshape(50, len(HORIZONS), -1), candidates)
    twin = detect_fit.quantiles(torch.tensor(head), torch.tensor(features)).numpy()
    np.testing.assert_allclose(found, twin, rtol=1e-10)


def test_surprise_is_that_of_the_piecewise_distribution():
    q = np.array([-5.0, -3, -1, 0, 2, 4, 10])
    p = np.array(QUANTILES)
    for place, value in enumerate(q):
        expected = -np.log(2 * min(p[place], 1 - p[place]))
        assert surprise(np.array(value), q) == pytest.approx(expected, abs=1e-9)
    assert surprise(np.array(1.0), q) == pytest.approx(-np.log(2 * (1 - 0.625)))
    steep = (10 - 4) / np.log(10)
    assert surprise(np.array(25.0), q) == pytest.approx(-np.log(0.01) + 15 / steep)
    steep = (5 - 3) / np.log(10)
    assert surprise(np.array(-6.0), q) == pytest.approx(-np.log(0.01) + 1 / steep)


def test_a_forecast_waits_for_its_row():
    baseline, forecast = Baseline(1, 1), Forecast(1, 1)
    made = []
    features = np.zeros((1, feature_count(HORIZONS)), np.float32)
    rng = np.random.default_rng(3)
    for t in range(30):
        x = np.array([5 + rng.normal()])
        baseline.update(x, np.array([True]), np.array([60.0 * t]))
        statistics, band = forecast.take(baseline)
        for place, horizon in enumerate(HORIZONS):
            if t < max(horizon, 2):
                continue
            q, mean, scale = made[t - horizon]
            z = np.arcsinh((x[0] - mean) / scale)
            assert statistics[0, place] == pytest.approx(np.log1p(surprise(z, q[place])), rel=1e-3)
            if horizon == 1:
                np.testing.assert_allclose(np.arcsinh((band[0] - mean) / scale), q[0][[1, 3, 5]], rtol=1e-3, atol=1e-3)
                assert band[0, 1] == pytest.approx(mean + scale * np.sinh(q[0][3]), rel=1e-6)
        if t == 0:
            assert np.isnan(band).all()
            assert (statistics == 0).all()
        head = rng.normal(size=(1, len(HORIZONS) * head_size())).astype(np.float32)
        baseline.features(np.array([True]), HORIZONS, features)
        forecast.put(head, baseline, features)
        candidates = np.zeros((len(HORIZONS), 4))
        candidates[:, 0] = features[0, 0]
        candidates[:, 2:] = features[0, 2 : 2 + 2 * len(HORIZONS)].reshape(-1, 2)
        found = quantiles(head.reshape(len(HORIZONS), -1), candidates).astype(np.float32).astype(float)
        made.append((found, baseline.mean[0], baseline.deviation()[0]))
