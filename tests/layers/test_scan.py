"""The native path of the LSTM: what holds beyond the conformance suite, which runs on it too."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import carrousel.layers.compiled as compiled
import carrousel.layers.scan as scan
from carrousel.errors import SettingError, ShapeError
from carrousel.layers import LSTM, LSTMState, backend, reference
from layers.agreement import (
    BFLOAT16,
    BFLOAT16_NORMED,
    BFLOAT16_ORDER,
    BFLOAT16_ORDER_NORMED,
    FLOAT64,
    arrays,
    assert_agrees,
    assert_same_bits,
)
from layers.conftest import emulate

# float32 rounds by 6e-8; sums of some ten products in each of 6 steps, two layers on one another, and the way back. A
# layer normalisation may multiply what has been rounded by 1/√ε = 316.
SINGLE, SINGLE_NORMED = 1e-4, 2e-3

L, N, E, H = 6, 5, 3, 8
LENGTHS = [6, 2, 0, 3, 6]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no_bias": {"bias": False},
    "coupled": {"coupled": True},
    "peephole": {"peephole": True},
    "layer_norm": {"layer_norm": True},
    "projection": {"proj_size": 5},
    "zoneout": {"zoneout": (0.2, 0.3)},
    "recurrent_dropout": {"recurrent_dropout": 0.3},
    "variational_dropout": {"variational_dropout": (0.2, 0.3)},
    "weight_drop": {"weight_drop": 0.3},
    "all": {
        "peephole": True, "layer_norm": True, "proj_size": 5, "zoneout": (0.2, 0.3), "recurrent_dropout": 0.3,
        "variational_dropout": (0.2, 0.3), "weight_drop": 0.3, "num_layers": 2, "dropout": 0.2,
    },
}  # fmt: skip
BOTH_WAYS: dict[str, Any] = {"bidirectional": True}

every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
ragged_or_not = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
pytestmark = pytest.mark.usefixtures("native_kernels")
compiled_only = pytest.mark.skipif(bool(scan.unavailable()), reason="the native engine was not built")


def make(options: dict[str, Any], dtype: torch.dtype = torch.float64) -> LSTM:
    layer = LSTM(E, H, dtype=dtype, **(BOTH_WAYS | options))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def values(
    layer: LSTM, x: torch.Tensor, lengths: list[int] | None = None, state: LSTMState | None = None, seed: int = 3
) -> list[torch.Tensor]:
    """Output, state, and gradients of a loss that looks at all of them."""
    x = x.detach().requires_grad_()
    state = LSTMState(*(s.detach().requires_grad_() for s in state or layer.initial_state(x.shape[1])))
    torch.manual_seed(seed)
    y, after = layer(x, state, lengths)
    loss = (y**2).sum() + after.h.sin().sum() + (after.c**3).sum()
    return [y, *after, *torch.autograd.grad(loss, [x, *state, *layer.parameters()])]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["plain", "coupled", "peephole", "layer_norm", "projection", "zoneout"])
@ragged_or_not
def test_a_precision_is_as_near_to_the_reference_as_its_rounding(
    name: str, lengths: list[int] | None, half: bool
) -> None:
    layer = make(VARIANTS[name] | {"num_layers": 2}, torch.float32).eval()
    x, state = torch.randn(L, N, E), LSTMState(*(torch.randn_like(s) for s in layer.initial_state(N)))
    with backend("native"), torch.autocast("cpu", torch.bfloat16, enabled=half):
        got = values(layer, x, lengths, state)
    parameters = {key: value.astype("float64") for key, value in arrays(layer).items()}
    trace = reference.lstm(
        parameters, x.double().numpy(), *(s.double().numpy() for s in state), lengths=lengths,
        zoneout=layer.variant.zoneout,
    )  # fmt: skip
    slopes = reference.lstm_backward(parameters, trace, 2 * trace.output, np.cos(trace.h_n), 3 * trace.c_n**2)
    expected = [trace.output, trace.h_n, trace.c_n, slopes.x, slopes.h_0, slopes.c_0]
    expected += [slopes.parameters[key] for key, _ in layer.named_parameters()]
    tolerances = (BFLOAT16, BFLOAT16_NORMED) if half else (SINGLE, SINGLE_NORMED)
    for one, other in zip(got, expected, strict=True):
        assert_agrees(one.float(), other, tolerances[name == "layer_norm"])


@every_variant
@ragged_or_not
def test_native_is_torch_with_the_same_masks(options: dict[str, Any], lengths: list[int] | None) -> None:
    layer, x = make(options), torch.randn(L, N, E, dtype=torch.float64)
    results: list[list[torch.Tensor]] = []
    for name in ("torch", "native"):
        with backend(name):
            results.append(values(layer, x, lengths))
    for got, expected in zip(results[1], results[0], strict=True):
        assert_agrees(got, expected, FLOAT64)


@compiled_only
@every_variant
def test_kernels_compute_what_their_contract_says(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    normed = "layer_norm" in options
    for dtype, half, tolerance in (
        (torch.float64, False, FLOAT64),
        (torch.float32, False, SINGLE_NORMED if normed else SINGLE),
        (torch.float32, True, BFLOAT16_ORDER_NORMED if normed else BFLOAT16_ORDER),
    ):
        layer, x = make(options, dtype), torch.randn(L, N, E, dtype=dtype)
        for lengths in (None, LENGTHS):
            with backend("native"), torch.autocast("cpu", torch.bfloat16, enabled=half):
                got = values(layer, x, lengths)
                with monkeypatch.context() as patch:
                    emulate(patch)
                    expected = values(layer, x, lengths)
            for one, other in zip(got, expected, strict=True):
                assert_agrees(one.double(), other.double(), tolerance)


@every_variant
@ragged_or_not
def test_gradient_is_the_slope(options: dict[str, Any], lengths: list[int] | None) -> None:
    layer = LSTM(
        2, 3, dtype=torch.float64, **(BOTH_WAYS | options | ({"proj_size": 2} if "proj_size" in options else {}))
    )
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    state = [torch.randn_like(s).requires_grad_() for s in layer.initial_state(3)]
    steps = None if lengths is None else [4, 0, 2]

    def run(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(1)
        y, after = layer(x, (h, c), steps)
        return y, *after

    with backend("native"):
        assert torch.autograd.gradcheck(run, (x, *state, *layer.parameters()))


@compiled_only
@pytest.mark.parametrize(("rows", "half"), [(1, False), (7, False), (33, False), (33, True)])
@every_variant
@ragged_or_not
def test_two_threads_give_the_bits_of_one(
    options: dict[str, Any], rows: int, half: bool, lengths: list[int] | None
) -> None:
    layer = LSTM(33, 70, **(options | ({"proj_size": 35} if "proj_size" in options else {})))
    x = torch.randn(40, rows, 33)
    steps = None if lengths is None else [(7 * k) % 41 for k in range(rows)]
    results: list[list[torch.Tensor]] = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            with backend("native"), torch.autocast("cpu", torch.bfloat16, enabled=half):
                results.append(values(layer, x, steps))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for got, expected in zip(other, results[0], strict=True):
            assert_same_bits(got, expected)


@ragged_or_not
def test_strides_change_nothing(lengths: list[int] | None) -> None:
    layer = make(VARIANTS["all"])
    wide = torch.randn(N, 2 * L, 2 * E, dtype=torch.float64)
    state = LSTMState(*(torch.randn(*s.shape[:2], 2 * s.shape[2]).double()[:, :, ::2] for s in layer.initial_state(N)))
    with backend("native"):
        for x in (wide[:, ::2, ::2].transpose(0, 1), wide[:, :L, :E].transpose(0, 1), wide[:1, :L, :E].expand(N, L, E)):
            x = x if x.shape[0] == L else x.transpose(0, 1)
            got = values(layer, x, lengths, state)
            expected = values(layer, x.contiguous(), lengths, LSTMState(*(s.contiguous() for s in state)))
            for one, other in zip(got, expected, strict=True):
                assert_same_bits(one, other)


@every_variant
def test_one_seed_gives_one_result(options: dict[str, Any]) -> None:
    layer, x = make(options, torch.float32), torch.randn(L, N, E)
    with backend("native"):
        one, same, other = (values(layer, x, LENGTHS, seed=seed) for seed in (1, 1, 2))
    for got, expected in zip(same, one, strict=True):
        assert_same_bits(got, expected)
    drawn = {"zoneout", "recurrent_dropout", "variational_dropout", "weight_drop"} & options.keys()
    assert torch.equal(other[0], one[0]) is not bool(drawn)


@every_variant
@ragged_or_not
def test_recomputing_gives_what_keeping_gives(
    options: dict[str, Any], lengths: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SEGMENT", 4)
    layer, x = make(options), torch.randn(11, N, E, dtype=torch.float64)
    steps = None if lengths is None else [11, 2, 0, 4, 9]
    with backend("native"):
        kept = values(layer, x, steps)
    with backend("native", recompute=True):
        recomputed = values(layer, x, steps)
    for got, expected in zip(recomputed, kept, strict=True):
        assert_agrees(got, expected, FLOAT64)


def test_recomputing_keeps_no_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SEGMENT", 10)
    layer, x = LSTM(2, 4), torch.randn(100, 1, 2)
    sizes: dict[bool, int] = {}
    for recompute in (False, True):
        saved: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor, saved: list[torch.Tensor] = saved) -> torch.Tensor:
            saved.append(tensor)
            return tensor

        with backend("native", recompute=recompute), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            layer(x)
        sizes[recompute] = sum(tensor.numel() for tensor in saved)
    assert sizes[False] - sizes[True] == 100 * 5 * 4 - 10 * 2 * 4  # i, f, g, o, c at each step; h, c at each tenth


@ragged_or_not
def test_a_graph_can_be_gone_back_through_twice(lengths: list[int] | None) -> None:
    layer, x = make(VARIANTS["all"]), torch.randn(L, N, E, dtype=torch.float64)
    with backend("native"):
        y, _ = layer(x, None, lengths)
    first = torch.autograd.grad(y.sum(), list(layer.parameters()), retain_graph=True)
    second = torch.autograd.grad(y.sum(), list(layer.parameters()))
    for got, expected in zip(second, first, strict=True):
        assert_same_bits(got, expected)


@every_variant
@ragged_or_not
def test_a_gradient_can_be_differentiated(options: dict[str, Any], lengths: list[int] | None) -> None:
    layer, x = make(options), torch.randn(L, N, E, dtype=torch.float64)
    for row, length in enumerate(lengths or []):
        x[length:, row] = float("nan")  # padding is not looked at
    x.requires_grad_()
    found: list[list[torch.Tensor]] = []
    for name in ("native", "torch"):
        torch.manual_seed(3)
        with backend(name):
            y, state = layer(x, None, lengths)
        inputs = [x, *layer.parameters()]
        slopes = torch.autograd.grad((y**2 + y).sum() + state.c.sum(), inputs, create_graph=True)
        found.append([*slopes, *torch.autograd.grad(sum((s**2).sum() for s in slopes), inputs)])
    for got, expected in zip(*found, strict=True):
        assert_agrees(got, expected, FLOAT64)


def test_differentiating_twice_in_bfloat16_is_refused_with_what_to_do() -> None:
    layer, x = make({}, torch.float32), torch.randn(L, N, E, requires_grad=True)
    with backend("native"), torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x)
    (slope,) = torch.autograd.grad((y.float() ** 2).sum(), x, create_graph=True)
    with pytest.raises(SettingError, match="create_graph"):
        slope.sum().backward()


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_no_steps_and_no_rows(shape: tuple[int, int]) -> None:
    layer = make({"peephole": True})
    with backend("native"):
        for lengths in (None, [0] * shape[1]):
            y, state = layer(torch.zeros(*shape, E, dtype=torch.float64), None, lengths)
            assert y.shape == (*shape, 2 * H)
            assert state.h.shape == (2, shape[1], H)


def test_rows_without_a_step_keep_their_state_and_pass_its_gradient_on() -> None:
    layer = make({"peephole": True})
    x = torch.full((L, N, E), float("nan"), dtype=torch.float64, requires_grad=True)
    state = LSTMState(*(torch.randn_like(s).requires_grad_() for s in layer.initial_state(N)))
    with backend("native"):
        y, after = layer(x, state, [0] * N)
        slopes = torch.autograd.grad(after.h.sum() + 2 * after.c.sum() + y.sum(), [*state, x, *layer.parameters()])
    assert not y.any()
    assert_same_bits(after.h, state.h)
    assert_same_bits(after.c, state.c)
    assert (slopes[0] == 1).all()
    assert (slopes[1] == 2).all()
    assert not any(slope.any() for slope in slopes[2:])


def test_only_what_is_used_needs_a_gradient() -> None:
    layer, x = make({}), torch.randn(L, N, E, dtype=torch.float64)
    layer.weight_hh_l0.requires_grad_(False)
    for pick in (lambda y, s: y, lambda y, s: s.h, lambda y, s: s.c):
        slopes: list[torch.Tensor] = []
        for name in ("native", "torch"):
            with backend(name):
                y, state = layer(x)
            slopes.append(torch.autograd.grad(pick(y, state).sum(), layer.weight_ih_l0)[0])
        assert_agrees(slopes[0], slopes[1], FLOAT64)
    with torch.no_grad(), backend("native"):
        assert not layer(x)[0].requires_grad


@pytest.mark.parametrize(
    ("name", "shape"),
    [("weight_hh_l0", (32, 7)), ("bias_ih_l0", (31,)), ("weight_ih_l0", (32, 4)), ("weight_ch_l0", (23,))],
)
def test_a_parameter_of_another_shape_is_an_error_with_both(name: str, shape: tuple[int, ...]) -> None:
    layer = LSTM(E, H, peephole=True)
    setattr(layer, name, nn.Parameter(torch.zeros(shape)))
    with backend("native"), pytest.raises(ShapeError, match=r"expected .*, got .*; x has shape \(6, 5, 3\)"):
        layer(torch.zeros(L, N, E))


def test_backend_is_refused_where_it_is_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    with backend("native"):
        half = LSTM(E, H).bfloat16()
        with pytest.raises(SettingError, match="expected float32 or float64, got bfloat16"):
            half(torch.zeros(L, N, E, dtype=torch.bfloat16))
        with pytest.raises(SettingError, match="on the CPU"):
            LSTM(E, H, device="meta")(torch.zeros(L, N, E, device="meta"))
        with torch.autocast("cpu", torch.float16), pytest.raises(SettingError, match="bfloat16, got torch"):
            LSTM(E, H)(torch.zeros(L, N, E))
        monkeypatch.setenv("CARROUSEL_ISA", "numpy")
        with pytest.raises(SettingError, match="CARROUSEL_ISA=numpy"):
            LSTM(E, H)(torch.zeros(L, N, E))
        monkeypatch.delenv("CARROUSEL_ISA")
        monkeypatch.setattr(compiled, "kernels", None)
        with pytest.raises(SettingError, match="which was not built"):
            LSTM(E, H)(torch.zeros(L, N, E))
    assert LSTM(E, H, peephole=True)(torch.zeros(L, N, E))[0].shape == (L, N, H)


def test_function_transforms_go_through_torch() -> None:
    layer, x = LSTM(E, H, peephole=True), torch.randn(L, N, E)
    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return (torch.func.functional_call(layer, parameters, (row[:, None],))[0] ** 2).sum()

    by_row = torch.func.vmap(torch.func.grad(loss), (None, 1))(parameters, x)
    y, _ = layer(x)
    slopes = torch.autograd.grad((y**2).sum(), list(layer.parameters()))
    for got, expected in zip(by_row.values(), slopes, strict=True):
        assert_agrees(got.sum(0), expected, SINGLE)
    with backend("native"), pytest.raises(SettingError, match=r"torch\.func"):
        torch.func.grad(loss)(parameters, x[:, 0])


def test_backend_holds_from_the_call_on_or_inside_the_with_and_in_its_thread_only() -> None:
    def name() -> str:
        from carrousel.layers.preference import preference

        return preference().name

    assert name() == "auto"
    with backend("torch"):
        assert name() == "torch"
        with backend("native", recompute=True):
            assert name() == "native"
        assert name() == "torch"
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(name()))
        thread.start()
        thread.join()
        assert seen == ["auto"]
    assert name() == "auto"
    backend("native")
    assert name() == "native"
    backend("auto")
    assert name() == "auto"


@compiled_only
@pytest.mark.parametrize(
    ("isa", "size", "options", "wanted"),
    [
        ("", 64, {}, True),
        ("", 64, {"coupled": True, "weight_drop": 0.5}, True),
        ("", 8, {}, False),
        ("", 8, {"peephole": True}, True),
        ("portable", 64, {}, False),
        ("portable", 64, {"peephole": True}, True),
    ],
)
def test_what_is_faster_is_chosen(
    isa: str, size: int, options: dict[str, Any], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isa and not scan.vectorised():
        pytest.skip("needs AVX2")
    if isa:
        monkeypatch.setenv("CARROUSEL_ISA", isa)
    calls: list[int] = []
    run = scan.recurrence.forward
    monkeypatch.setattr(scan.recurrence, "forward", lambda *a: (calls.append(1), run(*a))[1])
    layer, x = LSTM(size, size, **options), torch.randn(20, 8, size)
    layer(x)[0].sum().backward()
    assert bool(calls) is wanted
    calls.clear()
    with torch.no_grad():
        layer(x)
    assert bool(calls) is (wanted and "peephole" in options)


@pytest.mark.parametrize(
    ("arguments", "options"), [(("cuda",), {}), (("torch",), {"recompute": True}), (("native",), {"recompute": 1})]
)
def test_unknown_backend_is_refused(arguments: Any, options: Any) -> None:
    with pytest.raises(SettingError, match="backend: "):
        backend(*arguments, **options)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@every_variant
@ragged_or_not
def test_autocast_multiplies_in_bfloat16_and_returns_it_as_torch_does(
    options: dict[str, Any], lengths: list[int] | None
) -> None:
    layer, x = make(options, torch.float32).eval(), torch.randn(L, N, E)
    with backend("native"), torch.autocast("cpu", torch.bfloat16):
        low = values(layer, x, lengths)
        from_low, _ = layer(x.bfloat16(), None, lengths)
    with backend("native"):
        full = values(layer, x, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        assert nn.LSTM(E, H)(x)[0].dtype == low[0].dtype == low[1].dtype == low[2].dtype == torch.bfloat16
    assert_same_bits(from_low, low[0])
    assert all(slope.dtype == torch.float32 for slope in low[3:])
    for got, expected in zip(low, full, strict=True):
        assert_agrees(got.float(), expected, BFLOAT16_NORMED if layer.variant.layer_norm else BFLOAT16)


@compiled_only
@pytest.mark.parametrize("name", ["plain", "layer_norm", "peephole", "recurrent_dropout", "projection"])
def test_a_train_step_compiles_without_a_graph_break(name: str) -> None:
    layer, head = LSTM(E, H, 2, **VARIANTS[name]), nn.Linear(5 if name == "projection" else H, 1)
    x = torch.randn(L, N, E)

    def step(x: torch.Tensor) -> torch.Tensor:
        return (head(layer(x)[0]) ** 2).mean()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    results: list[list[torch.Tensor]] = []
    for function, wanted in ((step, "native"), (compiled, "auto")):
        torch.manual_seed(2)
        with backend(wanted):
            loss = function(x)
        results.append([loss, *torch.autograd.grad(loss, [*layer.parameters(), *head.parameters()])])
    for got, expected in zip(results[1], results[0], strict=True):
        assert_agrees(got, expected, SINGLE_NORMED if name == "layer_norm" else SINGLE)
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # looked at where the broken graph goes on
@pytest.mark.parametrize("options", [{}, {"coupled": True}], ids=["plain", "coupled"])
def test_the_kernel_of_torch_breaks_the_graph_and_gives_its_values(options: dict[str, Any]) -> None:
    layer, x = make(options), torch.randn(L, N, E, dtype=torch.float64)
    compiled = torch.compile(lambda x: 2 * layer(x)[0], backend="aot_eager")
    with backend("torch"):
        assert_agrees(compiled(x), 2 * layer(x)[0], FLOAT64)
    torch.compiler.reset()


@compiled_only
@pytest.mark.parametrize("options", [{}, {"layer_norm": True, "proj_size": 5}], ids=["plain", "normed"])
@ragged_or_not
def test_operators_are_what_they_say(options: dict[str, Any], lengths: list[int] | None) -> None:
    layer = make(options | {"bidirectional": False})
    ragged = None if lengths is None else scan.Ragged.of(L, torch.tensor(lengths))
    w = [getattr(layer, name + "_l0", None) for name in scan.Weights._fields]
    x = torch.randn(L, N, E, dtype=torch.float64, requires_grad=True)
    h, c = (s[0].requires_grad_() for s in layer.initial_state(N))
    call = (x, h, c, *w, *(ragged or [None] * 3), None, None, None, None, 0.0, 0.0, True, False, 0)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.carrousel.lstm, call, test_utils=checks)


@compiled_only
def test_two_processes_get_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = Path(__file__).with_name("sharer.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shared = [torch.load(tmp_path / f"gradient-{rank}", weights_only=True) for rank in (0, 1)]
    from layers.sharer import gradients

    for got, other, expected in zip(*shared, gradients(slice(None), shared=False), strict=True):
        assert_same_bits(got, other)
        assert_agrees(got, expected, 1e-6)  # sums in another order


@compiled_only
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts the threads in /proc")
def test_it_works_with_the_threads_of_torch_and_alone_in_a_forked_process() -> None:
    script = Path(__file__).with_name("crowd.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "1", "0"]  # threads more than before, those of Python, the child's status


def test_every_option_has_a_variant_here() -> None:
    from layers.test_lstm_conformance import EQUATIONS, STOCHASTIC

    options = set(itertools.chain.from_iterable(VARIANTS.values())) | BOTH_WAYS.keys()
    assert EQUATIONS.keys() | STOCHASTIC.keys() <= options
