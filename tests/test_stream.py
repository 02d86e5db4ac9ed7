"""Streams: a forecast at every row, the same one that a table of the same rows gives."""

import numpy as np
import pytest

from carrousel import errors
from carrousel.tasks.forecast import Forecaster
from small import SMALL, head, table

HOUR = np.timedelta64(3600, "s")
SPLIT = 330


@pytest.fixture(scope="module")
def rows():
    return table(rows=400)


@pytest.fixture(scope="module")
def early(rows):
    return rows["ds"] < rows["ds"].min() + SPLIT * HOUR


@pytest.fixture(scope="module")
def model(rows, early):
    return Forecaster(**SMALL, past="p").fit(head(rows, early))


@pytest.fixture(scope="module")
def future_model(rows, early):
    return Forecaster(**SMALL, past="p", future="f", static="q").fit(head(rows, early))


def later(rows, early, name="s1"):
    chosen = head(rows, ~early & (rows["unique_id"] == name))
    return [dict(zip(chosen, values, strict=True)) for values in zip(*chosen.values(), strict=True)]


def test_each_update_forecasts_what_predict_does_on_the_same_rows(model, rows, early):
    stream = model.stream("s1")
    for i, row in enumerate(later(rows, early)[:60]):
        forecast = stream.update(row)
        if i % 20 in (0, 19):
            known = model.predict(head(rows, rows["ds"] <= row["ds"]))
            chosen = known["unique_id"] == "s1"
            np.testing.assert_allclose(forecast.point[:, 0], known["Carrousel"][chosen], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(
                forecast.interval(90)[0][:, 0], known["Carrousel-lo-90"][chosen], rtol=1e-5, atol=1e-5
            )
            np.testing.assert_array_equal(forecast.ds, known["ds"][chosen])
            assert forecast.cutoff == row["ds"]


def test_a_stream_with_covariates_known_ahead_needs_them_once(future_model, rows, early):
    stream, coming = future_model.stream("s0"), later(rows, early, "s0")
    first = stream.update(coming[0], future=coming[1:14])
    second = stream.update(coming[1])
    upto = head(rows, rows["ds"] <= coming[1]["ds"])
    known = future_model.predict(upto, future=head(rows, ~early))
    np.testing.assert_allclose(second.point[:, 0], known["Carrousel"][known["unique_id"] == "s0"], rtol=1e-5, atol=1e-5)
    assert not np.array_equal(first.point, second.point)
    with pytest.raises(errors.ColumnError, match="expected f for the 12 rows after"):
        stream.update(coming[2])


def test_a_jump_in_time_leaves_missing_rows_in_between(model, rows, early):
    stream, coming = model.stream("s1"), later(rows, early)
    stream.update(coming[0])
    jumped = stream.update(coming[4])
    gap = (rows["ds"] > coming[0]["ds"]) & (rows["ds"] < coming[4]["ds"])
    known = model.predict(head(rows, ~gap & (rows["ds"] <= coming[4]["ds"])))
    chosen = known["unique_id"] == "s1"
    np.testing.assert_allclose(jumped.point[:, 0], known["Carrousel"][chosen], rtol=1e-5, atol=1e-5)


def test_a_missing_value_is_a_row_all_the_same(model, rows, early):
    coming = later(rows, early)
    absent, empty = model.stream("s1"), model.stream("s1")
    first = absent.update({"unique_id": "s1", "ds": coming[0]["ds"], "p": 0.0})
    second = empty.update({"unique_id": "s1", "ds": coming[0]["ds"], "y": None, "p": 0.0})
    assert first.cutoff == coming[0]["ds"]
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize(("step", "what"), [(0, "a second row for the newest stamp"), (-3, "a late row")])
def test_a_row_that_is_not_newer_is_refused_and_changes_nothing(model, rows, early, step, what):
    stream, row = model.stream("s1"), later(rows, early)[0]
    before = stream.update(row)
    with pytest.raises(errors.TimeError, match=what):
        stream.update({**row, "ds": row["ds"] + step * HOUR, "y": 1e6})
    np.testing.assert_array_equal(stream.partial().values, before.values)


def test_a_fork_goes_its_own_way(model, rows, early):
    stream, coming = model.stream("s1"), later(rows, early)
    stream.update(coming[0])
    fork = stream.fork()
    fork.update({**coming[1], "y": 99.0})
    np.testing.assert_array_equal(stream.update(coming[1]).values, _fresh(model, coming[:2]))


def _fresh(model, coming):
    stream = model.stream("s1")
    for row in coming:
        forecast = stream.update(row)
    return forecast.values


def test_an_endless_stream_keeps_agreeing_with_a_fresh_one(model):
    """The buffer is moved back again and again; nothing may be lost on the way."""
    rows = table(rows=1200, seed=1)
    old = rows["ds"] < rows["ds"].min() + SPLIT * HOUR
    stream = model.stream("s1")
    for row in later(rows, old):
        forecast = stream.update(row)
    known = model.predict(rows)
    np.testing.assert_allclose(
        forecast.point[:, 0], known["Carrousel"][known["unique_id"] == "s1"], rtol=1e-5, atol=1e-5
    )


def test_a_new_series_starts_cold_and_warms_up(model):
    rows = [{"unique_id": "new", "ds": np.datetime64("2030-01-01T00", "s") + i * HOUR, "y": np.sin(i / 4), "p": 0.0}
            for i in range(60)]  # fmt: skip
    stream = model.stream("new")
    forecasts = [stream.update(row) for row in rows]
    assert forecasts[22] is None
    assert forecasts[23] is not None
    assert np.isfinite(forecasts[-1].values).all()


def test_a_forecast_is_plain_data_for_json(model, rows, early):
    import json

    plain = json.loads(json.dumps(model.stream("s1").update(later(rows, early)[0]).to_dict()))
    assert list(plain)[:4] == ["unique_id", "cutoff", "ds", "Carrousel"]
    assert len(plain["ds"]) == len(plain["Carrousel-lo-90"]) == 12


def test_a_band_that_was_not_trained_is_refused(model):
    with pytest.raises(errors.SettingError, match="got 80"):
        model.stream("s0").partial().interval(80)


def test_a_stream_of_several_series_must_be_named(model):
    with pytest.raises(errors.SettingError, match="expected one of 2 series, such as 's0'"):
        model.stream()
