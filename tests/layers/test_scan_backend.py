"""Where the native path of the LSTM runs: chosen, refused, transformed, compiled, in bfloat16, beside processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import carrousel.layers.compiled as compiled
import carrousel.layers.scan as scan
from carrousel.errors import SettingError
from carrousel.layers import LSTM, backend
from layers.agreement import BFLOAT16, BFLOAT16_NORMED, FLOAT64, assert_agrees, assert_same_bits
from layers.variant import (
    SINGLE,
    SINGLE_NORMED,
    VARIANTS,
    E,
    H,
    L,
    N,
    compiled_only,
    every_variant,
    make,
    ragged_or_not,
    values,
)

pytestmark = pytest.mark.usefixtures("native_kernels")


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
