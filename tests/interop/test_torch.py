"""Modules of PyTorch in the engine: the values of both, with the state carried over, and what is refused."""

from __future__ import annotations

import itertools
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from carrousel.engine import Engine
from carrousel.errors import ConfigError, MissingExtraError, WeightsError
from carrousel.interop.torch import from_torch
from carrousel.layers import LSTM as OurLSTM
from interop.sequence import CLOSE, assert_gives, exactly, floats

N, L, E, H = 3, 9, 4, 5


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


def answer(modules: list[nn.Module], x: np.ndarray) -> np.ndarray:
    """What the modules give one after the other, of an LSTM its output; x (N, L, ...)."""
    y = torch.from_numpy(x)
    with torch.no_grad():
        for module in modules:
            if isinstance(module, (nn.LSTM, OurLSTM)):
                y = module(y)[0] if module.batch_first else module(y.transpose(0, 1))[0].transpose(0, 1)
            else:
                y = module(y)
    return y.numpy()


def test_the_comparison_rejects_a_wrong_answer():
    module, x = nn.Linear(E, 2), floats(N, L, E)
    with pytest.raises(AssertionError):
        assert_gives(Engine.from_torch(module), x, answer([module], x) + 1e-4)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])
@pytest.mark.parametrize(
    ("bias", "num_layers", "bidirectional", "proj_size"),
    list(itertools.product([False, True], [1, 2], [False, True], [0, 3])),
)
def test_an_lstm_gives_what_torch_gives(bias, num_layers, bidirectional, proj_size, batch_first):
    dropout = 0.5 if num_layers > 1 else 0.0
    module = nn.LSTM(E, H, num_layers, bias, batch_first, dropout, bidirectional, proj_size).eval()
    engine, x = Engine.from_torch(module), floats(N, L, E)
    assert_gives(engine, x, answer([module], x))
    session = engine.session(N)
    session.run(x)
    with torch.no_grad():
        _, (h_n, c_n) = module(torch.from_numpy(x if batch_first else x.transpose(1, 0, 2)))
    np.testing.assert_allclose(session.state["lstm.h"], h_n.numpy(), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(session.state["lstm.c"], c_n.numpy(), rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    "variant",
    [
        {"peephole": True}, {"coupled": True}, {"layer_norm": True}, {"zoneout": (0.2, 0.1)}, {"trainable_state": True},
        {"peephole": True, "coupled": True, "bidirectional": True, "num_layers": 2, "bias": False},
        {"proj_size": 3, "recurrent_dropout": 0.5, "weight_drop": 0.5, "variational_dropout": (0.1, 0.1)},
    ],
    ids=str,
)  # fmt: skip
def test_every_variant_of_our_layer_gives_what_it_gives_in_torch(variant):
    module = OurLSTM(E, H, batch_first=True, **variant)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    module.eval()
    x = floats(N, L, E)
    # Normalisation divides by √(variance + 1e-5), and makes rounding errors up to 316 times larger.
    assert_gives(
        Engine.from_torch(module), x, answer([module], x), atol=CLOSE * (316 if module.variant.layer_norm else 1)
    )


@pytest.mark.parametrize("bias", [False, True])
def test_a_cell_gives_what_it_gives_step_by_step(bias):
    cell, x = nn.LSTMCell(E, H, bias), floats(N, L, E)
    state, expected = None, []
    with torch.no_grad():
        for t in range(L):
            state = cell(torch.from_numpy(x[:, t]), state)
            expected.append(state[0].numpy())
    assert_gives(Engine.from_torch(cell), x, np.stack(expected, axis=1))


def test_layers_in_a_list_and_nested_give_what_they_give_in_torch():
    modules = [
        nn.Embedding(7, E, padding_idx=0),
        nn.LSTM(E, H, batch_first=True),
        nn.Sequential(
            nn.Linear(H, 6), nn.Dropout(0.5), nn.SiLU(), nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh())
        ),
        nn.LSTM(5, 3, 2, batch_first=True),
        nn.Identity(),
        nn.Linear(3, 4),
        nn.ReLU(inplace=True),
        nn.Linear(4, 2),
        nn.Sigmoid(),
    ]  # fmt: skip
    engine, ids = Engine.from_torch(modules), np.random.default_rng(0).integers(0, 7, (N, L))
    names = [layer.name for layer in engine.architecture.layers]
    assert names == ["embedding_0", "lstm_1", "linear_2_0", "linear_2_3_0", "lstm_3", "linear_5", "linear_7"]
    assert_gives(engine, ids, answer([module.eval() for module in modules], ids))


def test_dropout_is_left_out_in_a_module_that_is_training():
    module, x = nn.Sequential(nn.Linear(E, 3), nn.Dropout(0.5)).train(), floats(N, L, E)
    assert_gives(Engine.from_torch(module), x, answer([module[0]], x))


def test_layers_have_the_names_of_their_modules():
    module = nn.Sequential(
        OrderedDict(encoder=nn.Sequential(OrderedDict(inner=nn.Linear(2, 3))), encoder_inner=nn.Linear(3, 1))
    )
    architecture, weights = from_torch(module)
    assert [layer.name for layer in architecture.layers] == ["encoder_inner", "encoder_inner_2"]
    np.testing.assert_array_equal(weights["encoder_inner_2.weight"], module.encoder_inner.weight.detach().numpy())


def test_a_module_that_stands_twice_counts_twice():
    linear, x = nn.Linear(E, E), floats(N, L, E)
    module = nn.Sequential(linear, nn.Tanh(), linear)
    assert_gives(Engine.from_torch(module), x, answer([module], x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_floating_point_types_become_float32(dtype):
    module = nn.LSTM(E, H).to(dtype)
    _, weights = from_torch(module)
    for name, parameter in module.named_parameters():
        assert weights[f"lstm.{name}"].dtype == np.float32
        np.testing.assert_array_equal(weights[f"lstm.{name}"], parameter.detach().float().numpy())


def test_parametrised_weights_are_those_that_the_module_computes_with():
    module, x = nn.utils.parametrizations.weight_norm(nn.Linear(E, 3)), floats(N, L, E)
    with torch.no_grad():
        module.parametrizations.weight.original0.mul_(2)
    assert_gives(Engine.from_torch(module), x, answer([module], x))


def test_an_engine_does_not_change_when_the_module_goes_on_training():
    module, x = nn.Linear(E, 2), floats(N, L, E)
    engine, expected = Engine.from_torch(module), answer([module], x)
    with torch.no_grad():
        module.weight.zero_()
    assert_gives(engine, x, expected)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(E, H), nn.Linear(H, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


class Halved(nn.Linear):
    def forward(self, x):
        return super().forward(x) / 2


def hooked() -> nn.Module:
    module = nn.Linear(E, 2)
    module.register_forward_hook(lambda *_: None)
    return module


SUPPORTED = "LSTM, LSTMCell, Linear, Embedding, ReLU, Tanh, SiLU, Sigmoid, Dropout, Identity or a Sequential of these"
OWN = (
    f"expected {SUPPORTED}, got a module with a forward of its own, which cannot be read; "
    "pass its layers as a list in their order, such as [net.lstm, net.head]"
)
REFUSED = {
    "a forward of its own": (Net, ConfigError, f"the module (Net): {OWN}"),
    "a subclass with a forward of its own": (
        lambda: nn.Sequential(nn.LSTM(E, H), Halved(H, 1)), ConfigError, f"module '1' (Halved): {OWN}"
    ),
    "an unsupported layer within": (
        lambda: nn.Sequential(nn.Linear(E, H), nn.Sequential(nn.LayerNorm(H))), ConfigError,
        f"module '1.0' (LayerNorm): expected {SUPPORTED}, got LayerNorm; the engine has no such layer",
    ),
    "a class": (lambda: nn.LSTM, ConfigError, f"the module (type): expected {SUPPORTED}, got no module"),
    "something else in a list": (
        lambda: [nn.LSTM(E, H), "head"], ConfigError, f"module '1' (str): expected {SUPPORTED}, got no module"
    ),
    "nothing": (nn.Sequential, ConfigError, "expected at least one layer, got none"),
    "an activation of nothing": (
        lambda: [nn.LSTM(E, H), nn.Tanh()], ConfigError,
        "module '1' (Tanh): expected a Linear before it, of which it becomes part, got none",
    ),
    "two activations": (
        lambda: [nn.Linear(E, H), nn.Tanh(), nn.ReLU()], ConfigError,
        "module '2' (ReLU): expected a Linear before it, of which it becomes part, got none",
    ),
    "widths that do not fit": (
        lambda: [nn.LSTM(E, H, bidirectional=True), nn.Linear(H, 1)], ConfigError,
        "stack 'main': 'linear_1' takes 5 values, but 'lstm_0' before it gives 10",
    ),
    "an embedding in the middle": (
        lambda: [nn.Linear(E, H), nn.Embedding(7, 2)], ConfigError,
        "stack 'main': 'embedding_1' takes ids and can only stand first, but 'linear_0' stands before it",
    ),
    "an embedding that scales": (
        lambda: nn.Embedding(7, 2, max_norm=1.0), ConfigError,
        "the module (Embedding): max_norm: expected None, got 1.0; the engine scales no vectors",
    ),
    "hooks": (
        hooked, ConfigError, "the module (Linear): expected no forward hooks, which cannot be read; remove them"
    ),
    "a lazy module": (
        lambda: [nn.LazyLinear(3)], WeightsError,
        "module '0' (LazyLinear): expected weights, got a lazy module without; run it once",
    ),
    "the meta device": (
        lambda: nn.Linear(2, 3, device="meta"), WeightsError,
        "the module (Linear): weight: expected values, got a parameter without; load its weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_translated_is_refused_with_one_sentence(make, error, message):
    with pytest.raises(error, match=exactly(f"from_torch: {message}")):
        Engine.from_torch(make())


def test_weights_that_are_not_finite_are_refused():
    module = nn.Linear(2, 1).double()
    with torch.no_grad():
        module.weight[0, 1] = 1e300  # beyond float32
    message = "weights: linear.weight: expected finite values, got 1 of 2 NaN or infinite"
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine.from_torch(module)


def test_a_missing_torch_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = (
        "reading modules of PyTorch needs the package 'torch', which is not installed; pip install 'carrousel[train]'"
    )
    with pytest.raises(MissingExtraError, match=exactly(message)):
        Engine.from_torch(object())
