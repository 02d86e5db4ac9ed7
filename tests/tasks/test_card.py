"""The model card: what it says was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from carrousel import load, native
from carrousel.architecture import LSTM, Linear
from carrousel.metrics import mae
from carrousel.tasks import fit
from carrousel.tasks.backtest import truth
from carrousel.tasks.card import forecast_card
from carrousel.tasks.plan import split


def validation(model, table):
    """The panel, and series and origins of the windows on which precisions are compared."""
    panel = model.schema.read(table, notes=[])
    parts, sizes = split(panel, model.settings.horizon, 0.15, model.schema.grid), model.fitted.sizes
    origins = parts.validation_origins(sizes.look_back, sizes.patch)
    return parts.panel, origins


def places(panel, origins):
    series = np.searchsorted(panel.starts, origins, side="right") - 1
    return series, origins - panel.starts[series]


def bfloat16(array):
    """The nearest value with 8 bits of mantissa, by arithmetic."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32)


def test_the_loss_of_bfloat16_is_that_of_weights_rounded_by_hand(model, long_table):
    fitted = model.fitted
    layers = {layer.name: layer for layer in fitted.sizes.architecture().layers}
    stacked = {name for stack in fitted.sizes.architecture().stacks.values() for name in stack}
    rounded = {
        name: bfloat16(array)
        if (layer := name.partition(".")[0]) in stacked
        and isinstance(layers[layer], (LSTM, Linear))
        and name.split(".")[1].startswith("weight")
        else array
        for name, array in fitted.weights.items()
    }
    panel, origins = validation(model, long_table)
    where = places(panel, origins)
    exact, by_hand = (each.forecast(panel, *where)[0] for each in (fitted, replace(fitted, weights=rounded)))
    found = fitted.learned.rounding
    assert len(origins) < fit.ROUNDING_WINDOWS, "all of them were compared"
    assert found["bfloat16"].windows == len(origins)
    assert found["float32"].mae == pytest.approx(mae(truth(panel, *where, 12), exact), rel=1e-9)
    assert found["bfloat16"].mae == pytest.approx(mae(truth(panel, *where, 12), by_hand), rel=1e-6)
    # What the last bits of float32 change is some thousandth of what rounding to 8 bits changes.
    shift = np.abs(by_hand - exact).mean()
    if native.chosen() == "avx512bf16":  # which rounds inputs as well
        assert shift < found["bfloat16"].shift < 2 * shift
    else:
        assert found["bfloat16"].shift == pytest.approx(shift, rel=0.02)
    assert found["bfloat16"].shift > 0 == found["float32"].shift


@pytest.mark.skipif(native.chosen() == "numpy", reason="int8 takes the native engine")
def test_int8_loses_more_than_bfloat16_and_little(model):
    losses = model.fitted.learned.rounding
    assert 0 < losses["bfloat16"].shift < losses["int8"].shift < 0.05 * losses["float32"].mae
    assert losses["int8"].mae == pytest.approx(losses["float32"].mae, rel=0.01)


def test_int8_is_left_out_without_the_native_engine(model, long_table, monkeypatch):
    monkeypatch.setenv("CARROUSEL_ISA", "numpy")
    panel, origins = validation(model, long_table)
    assert list(fit.rounding(replace(model.fitted), panel, origins)) == ["float32", "bfloat16"]


def test_windows_without_a_truth_give_no_loss(model, long_table):
    panel, origins = validation(model, long_table)
    empty = replace(panel, target=np.full_like(panel.target, np.nan))
    assert fit.rounding(model.fitted, empty, origins) == {}


def test_the_saved_card_names_every_precision_with_its_numbers(model, tmp_path):
    model.save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    losses = load(tmp_path / "model").fitted.learned.rounding
    assert losses == model.fitted.learned.rounding
    for dtype, loss in losses.items():
        assert f"| {dtype} | {loss.mae:.6g} |" in card
        assert f"| {loss.shift:.3g} |" in card
    assert f"engine on {model.fitted.engine.isa}" in card


def test_a_model_from_before_precisions_were_compared_has_no_such_table(model):
    learned = replace(model.fitted.learned, rounding={})
    assert "bfloat16" not in forecast_card(replace(model.fitted, learned=learned), {}, None)
