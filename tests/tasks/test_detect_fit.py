"""What the detector's network learns from, what it is judged by, and that the engine computes the same network."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from carrousel.architecture import LSTM, Architecture, Linear  # noqa: E402
from carrousel.data.artificial import artificial  # noqa: E402
from carrousel.engine import Engine  # noqa: E402
from carrousel.online.baseline import Baseline, feature_count  # noqa: E402
from carrousel.online.forecast import HORIZONS  # noqa: E402
from carrousel.tasks.detect_fit import (  # noqa: E402
    SPAN,
    DetectNetwork,
    fit_network,
    learnable,
    starts,
    weights_of,
)
from carrousel.training import seeded  # noqa: E402

ROWS = 300
SINGLE = 1e-5  # of float32 values of order one, through 300 steps of both engines' activations


@pytest.fixture(scope="module")
def table():
    series = [artificial(seed, rows=ROWS, step_s=300) for seed in (2, 3, 4, 6)]
    values = np.stack([one.values[:, 0] for one in series])
    values[1, 40:43] = np.nan
    return values, np.stack([one.stamps.astype(float) for one in series])


def fresh():
    with seeded(0):
        return DetectNetwork(8)


def test_a_row_is_taught_what_follows_it_in_its_own_units(table):
    values, seconds = table
    features, truth = learnable(values, seconds)
    assert features.shape == (4, ROWS, feature_count(HORIZONS))
    baseline, t = Baseline(4, 1), 120
    for row in range(t + 1):
        baseline.update(values[:, row], np.isfinite(values[:, row]), np.ascontiguousarray(seconds[:, row]))
    for place, horizon in enumerate(HORIZONS):
        expected = np.arcsinh((values[:, t + horizon] - baseline.mean) / baseline.deviation())
        np.testing.assert_allclose(truth[:, t, place], expected, rtol=1e-6)
        assert np.isnan(truth[:, ROWS - horizon :, place]).all()
        assert np.isnan(truth[1, 40 - horizon : 43 - horizon, place]).all()


def test_features_do_not_know_later_rows(table):
    values, seconds = table
    features, _ = learnable(values, seconds)
    before, _ = learnable(values[:, :150], seconds[:, :150])
    np.testing.assert_array_equal(features[:, :150], before)


def test_examples_begin_every_half_stretch_and_end_within_their_span():
    assert starts([(0, 0, 2 * SPAN), (3, 10, 10 + SPAN), (4, 0, SPAN - 1)]).tolist() == [
        [0, 0],
        [0, SPAN // 2],
        [0, SPAN],
        [3, 10],
    ]


def test_training_forecasts_better_than_it_began(table):
    features, truth = learnable(*table)
    spans = starts([(row, 0, ROWS) for row in range(4)])
    model = fresh()
    history = fit_network(
        model, features, truth, spans, spans, minutes=None, max_steps=10, learning_rate=2e-2, seed=0,
        progress=lambda report: None,
    )  # fmt: skip
    first, last = history.rows[0].validation_loss, history.best_validation
    assert history.best_step > 0
    assert last is not None
    assert last < first - 0.02


def test_a_network_that_its_judge_finds_no_better_is_left_as_it_was(table):
    features, truth = learnable(*table)
    spans = starts([(row, 0, ROWS) for row in range(4)])
    model = fresh()
    verdicts = iter(range(100))
    history = fit_network(
        model, features, truth, spans, spans, minutes=None, max_steps=3, learning_rate=1e-2, seed=0,
        validate=lambda network: float(next(verdicts)), progress=lambda report: None,
    )  # fmt: skip
    assert (history.best_step, history.best_validation) == (0, 0.0)
    for name, array in weights_of(fresh()).items():
        np.testing.assert_array_equal(weights_of(model)[name], array)


def test_the_engine_computes_the_network_that_was_trained(table):
    features, _ = learnable(*table)
    model = fresh()
    lstm = LSTM(name="lstm", input_size=features.shape[2], hidden_size=8)
    head = Linear(name="head", input_size=8, output_size=model.head.out_features)
    engine = Engine(Architecture(layers=(lstm, head), stacks={"main": ("lstm", "head")}), weights_of(model))
    session = engine.session(4)
    found = np.stack([session.step(np.ascontiguousarray(features[:, t])) for t in range(ROWS)], axis=1)
    with torch.no_grad():
        hidden, _ = model.lstm(torch.from_numpy(features))
        expected = model.head(hidden).numpy()
    np.testing.assert_allclose(found, expected, atol=SINGLE)
