"""The arithmetic of inference in NumPy: a kernel for each kind of layer, weights packed once for few, large operations.

Values run through a stack as float32 (L, F, N): time, feature, batch. With the batch innermost every gate of a step is
one contiguous block, whatever N is, and the whole step is one matrix product and a handful of in-place operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Embedding, Layer, Linear, Scale
from carrousel.errors import SettingError

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32] | npt.NDArray[np.int64]
Record = dict[str, Floats]

HALF = np.array(0.5, np.float32)  # an array: a Python number costs a conversion at every call
ONE = np.array(1.0, np.float32)
EPSILON = np.array(1e-5, np.float32)  # of the layer normalisation, as in torch.nn.LayerNorm


class Span(NamedTuple):
    """Steps first:last, in which only the first `rows` rows of the batch are alive (rows are sorted, longest first)."""

    first: int
    last: int
    rows: int


class Memory:
    """What a recurrent layer remembers of N rows, by layer and direction (D of them).

    ``h`` is (D, P, N). ``z`` (D, 5H, N) holds the gates o, i, f, g of the last step and, behind them, the cell state c:
    in this order σ is taken over one block (o, i, f), and i·g and f·c are one product of (i, f) with (g, c).
    """

    def __init__(self, z: Floats, h: Floats) -> None:
        self.z, self.h = z, h
        self.c = z[:, z.shape[1] // 5 * 4 :]
        self.cells = [Cell(z[d], h[d]) for d in range(len(h))]

    def take(self, rows: npt.NDArray[np.intp]) -> Memory:
        """A copy of some rows, in that order."""
        z = np.empty((*self.z.shape[:2], len(rows)), np.float32)
        memory = Memory(z, np.take(self.h, rows, axis=2))
        np.take(self.c, rows, axis=2, out=memory.c)
        return memory

    def put(self, rows: npt.NDArray[np.intp], source: Memory) -> None:
        """Row k of `source` becomes the row ``rows[k]``."""
        self.h[:, :, rows], self.c[:, :, rows] = source.h, source.c


class Cell:
    """The views into a memory that one layer and direction works on; made once, since a view costs as much as a sum."""

    def __init__(self, z: Floats, h: Floats) -> None:
        size = len(z) // 5
        self.z, self.h = z, h
        self.gates, self.sigmoids, self.tanhs = z[: 4 * size], z[: 3 * size], z[size : 4 * size]
        self.o, self.i, self.f, self.g, self.c = (z[k * size : (k + 1) * size] for k in range(5))
        self.i_f, self.g_c = z[size : 3 * size], z[3 * size :]

    def narrow(self, rows: int) -> Cell:
        return self if rows == self.h.shape[1] else Cell(self.z[:, :rows], self.h[:, :rows])


class LinearKernel:
    """y = a(W x + b)."""

    def __init__(self, layer: Linear, weights: Mapping[str, Floats]) -> None:
        self.weight = _frozen(weights["weight"])
        self.bias = _frozen(weights["bias"][:, None]) if layer.bias else None
        activations = {None: None, "relu": _relu, "tanh": _tanh, "silu": _silu, "sigmoid": _sigmoid}
        self.activate = activations[layer.activation]

    def run(self, x: Floats) -> Floats:
        """x (L, E, N) -> (L, F, N)."""
        y = _product(self.weight, x)
        if self.bias is not None:
            y += self.bias
        return y if self.activate is None else self.activate(y)


class ScaleKernel:
    """y = weight * x + bias."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weight, self.bias = (_frozen(weights[name][:, None]) for name in ("weight", "bias"))

    def run(self, x: Floats) -> Floats:
        """x (L, F, N) -> (L, F, N)."""
        y = np.multiply(self.weight, x)
        y += self.bias
        return y


class EmbeddingKernel:
    """The rows of a table by ids that are known to be in range."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weight = _frozen(weights["weight"])

    def run(self, ids: Ids) -> Floats:
        """ids (L, N) -> (L, F, N)."""
        return self.weight[ids].transpose(0, 2, 1)


class LSTMKernel:
    """An LSTM and its variants, several layers and both directions; the equations are those of ``layers/reference.py``.

    σ(z) = (1 + tanh(z/2)) / 2 with the inner half folded into the weights, so that one tanh serves all four gates.
    """

    def __init__(self, layer: LSTM, weights: Mapping[str, Floats]) -> None:
        self.layer = layer
        self.cells = [_CellWeights(layer, weights, suffix) for suffix in layer.suffixes()]
        rows, zeros = len(self.cells), np.zeros
        self.h_0 = _frozen(weights["h_0"] if layer.trainable_state else zeros((rows, layer.output_size), np.float32))
        self.c_0 = _frozen(weights["c_0"] if layer.trainable_state else zeros((rows, layer.hidden_size), np.float32))

    def memory(self, batch: int) -> Memory:
        """The initial state of a batch: zeros, or the trained one."""
        (rows, size), out = self.c_0.shape, self.layer.output_size
        memory = Memory(np.empty((rows, 5 * size, batch), np.float32), np.empty((rows, out, batch), np.float32))
        self.reset(memory, slice(None))
        return memory

    def reset(self, memory: Memory, rows: slice | npt.NDArray[np.intp]) -> None:
        """Put rows of a batch back to the initial state."""
        memory.h[:, :, rows], memory.c[:, :, rows] = self.h_0[:, :, None], self.c_0[:, :, None]

    def record(self, steps: int, batch: int) -> Record:
        """Zeros for every gate of every step: (L, D, H or P, N)."""
        sizes = dict.fromkeys("ifgoc", self.layer.hidden_size) | {"h": self.layer.output_size}
        return {name: np.zeros((steps, len(self.cells), size, batch), np.float32) for name, size in sizes.items()}

    def run(self, x: Floats, memory: Memory, spans: list[Span], record: Record | None) -> Floats:
        """x (L, E, N) -> (L, directions·P, N), without meaning for dead rows; `memory` goes on to where each row ends.

        `record` has zeros (L, D, H or P, N) under i, f, g, o, c, h, which are filled in.
        """
        length, _, batch = x.shape
        directions, size = self.layer.directions, self.layer.output_size
        for first in range(0, len(self.cells), directions):
            y = np.empty((length, directions * size, batch), np.float32)
            for d in range(first, first + directions):
                part = y[:, (d - first) * size : (d - first + 1) * size]
                log = {} if record is None else {name: array[:, d] for name, array in record.items()}
                self._run_one(d, x, part, memory.cells[d], spans, log, back=d > first or self.layer.reverse)
            x = y
        return x

    def _run_one(
        self, d: int, x: Floats, y: Floats, cell: Cell, spans: list[Span], record: Record, *, back: bool
    ) -> None:
        """One layer in one direction, forward in time or back, through all spans."""
        drive = self.cells[d].drive(x)
        for span in reversed(spans) if back else spans:
            steps = slice(span.first, span.last)
            arrays = [array[steps, :, : span.rows] for array in (drive, y, *record.values())]
            some, out, *logs = [array[::-1] for array in arrays] if back else arrays
            self.cells[d].advance(cell.narrow(span.rows), some, out, dict(zip(record, logs, strict=True)))


class _CellWeights:
    """The packed weights of one layer and direction, and its steps."""

    def __init__(self, layer: LSTM, weights: Mapping[str, Floats], suffix: str) -> None:
        size = layer.hidden_size
        # Without normalisation f = 1 − σ(z) = σ(−z): a coupled cell is a plain one with f rows = −(i rows).
        expand = layer.coupled and not layer.layer_norm
        self.one_minus_i = layer.coupled and layer.layer_norm

        def pack(name: str) -> Floats:
            """Rows i, f, g, o (or i, g, o) in the order o, i, f, g, those under a σ halved."""
            rows = weights[name + suffix].reshape(-1, size, *weights[name + suffix].shape[1:])
            i, o = rows[0] * HALF, rows[-1] * HALF
            f = [-i] if expand else [] if layer.coupled else [rows[1] * HALF]
            return np.concatenate([o, i, *f, rows[-2]])

        def column(name: str, default: float) -> Floats:
            return (
                _frozen(weights[name + suffix][:, None]) if name + suffix in weights else np.array(default, np.float32)
            )

        norm = layer.layer_norm
        # A norm is blind to the scale of what it is given: there gains and biases carry the halves, weights do not.
        raw = layer.hidden_size if norm else 0
        self.weight_ih, self.weight_hh = (
            _frozen(_order(weights[name + suffix], size) if raw else pack(name)) for name in ("weight_ih", "weight_hh")
        )
        zeros = np.zeros((len(self.weight_hh), 1), np.float32)
        bias_ih, bias_hh = (pack(f"bias_{way}")[:, None] if layer.bias else zeros for way in ("ih", "hh"))
        self.bias = _frozen(bias_ih if norm else bias_ih + bias_hh)
        self.bias_hh = _frozen(bias_hh)
        self.gain_ih, self.gain_hh = (_frozen(pack(f"gain_{way}")[:, None]) if norm else ONE for way in ("ih", "hh"))
        self.gain_c, self.bias_c = column("gain_c", 1.0), column("bias_c", 0.0)
        self.weight_hr = _frozen(weights[f"weight_hr{suffix}"]) if layer.proj_size else None
        self.peephole = None
        if layer.peephole:
            p = weights[f"weight_ch{suffix}"].reshape(-1, size, 1) * HALF
            p_f = -p[0] if expand else np.zeros_like(p[0]) if layer.coupled else p[1]
            self.peephole = _frozen(np.concatenate([p[0], p_f])), _frozen(p[-1])
        self.norm = norm
        self.keep = tuple(np.array(p, np.float32) for p in layer.zoneout) if any(layer.zoneout) else None
        self.plain = not (norm or self.peephole or self.keep or layer.proj_size)

    def drive(self, x: Floats) -> Floats:
        """What the inputs add to the gates before the activations, for all steps at once: (L, gates·H, N)."""
        z = _product(self.weight_ih, x)
        if self.norm:
            return _normalise(z, self.gain_ih, self.bias, axis=1)
        z += self.bias
        return z

    def advance(self, cell: Cell, drive: Floats, out: Floats, record: Record) -> None:
        """All steps of one direction; `cell` goes on, `out` (L, P, N) gets every h."""
        if self.plain and not record:
            self._advance_plain(cell, drive, out)
        else:
            self._advance_any(cell, drive, out, record)

    def _advance_plain(self, cell: Cell, drive: Floats, out: Floats) -> None:
        weight, h = self.weight_hh, cell.h
        gates, sigmoids, i_f, g_c = cell.gates, cell.sigmoids, cell.i_f, cell.g_c
        o, i, f, g, c = cell.o, cell.i, cell.f, cell.g, cell.c
        matmul, add, multiply, tanh = np.matmul, np.add, np.multiply, np.tanh
        for x, y in zip(drive, out, strict=True):
            matmul(weight, h, out=gates)
            add(gates, x, out=gates)
            tanh(gates, out=gates)
            multiply(sigmoids, HALF, out=sigmoids)
            add(sigmoids, HALF, out=sigmoids)
            multiply(i_f, g_c, out=i_f)  # i·g and f·c
            add(i, f, out=c)
            tanh(c, out=g)
            multiply(o, g, out=y)
            h = y
        cell.h[...] = h

    def _advance_any(self, cell: Cell, drive: Floats, out: Floats, record: Record) -> None:
        o, i, f, g, c, i_f, h = cell.o, cell.i, cell.f, cell.g, cell.c, cell.i_f, cell.h
        size, product = len(c), np.empty((len(self.weight_hh), h.shape[1]), np.float32)
        for t, (x, y) in enumerate(zip(drive, out, strict=True)):
            np.matmul(self.weight_hh, h, out=product)
            z = _normalise(product, self.gain_hh, self.bias_hh, axis=0) if self.norm else product
            z += x
            o[...], i[...], g[...] = z[:size], z[size : 2 * size], z[-size:]
            if not self.one_minus_i:
                f[...] = z[2 * size : 3 * size]
            if self.peephole:
                np.add(i, self.peephole[0][:size] * c, out=i)
                np.add(f, self.peephole[0][size:] * c, out=f)
            np.tanh(cell.tanhs, out=cell.tanhs)
            i_f *= HALF
            i_f += HALF
            if self.one_minus_i:
                np.subtract(ONE, i, out=f)
            c_candidate = np.add(i * g, f * c)
            if self.peephole:
                np.add(o, self.peephole[1] * c_candidate, out=o)
            np.tanh(o, out=o)
            o *= HALF
            o += HALF
            u = _normalise(c_candidate, self.gain_c, self.bias_c, axis=0) if self.norm else c_candidate
            h_candidate = o * np.tanh(u)
            if self.weight_hr is not None:
                h_candidate = np.matmul(self.weight_hr, h_candidate)
            if self.keep:
                keep_h, keep_c = self.keep
                h_candidate = keep_h * h + (ONE - keep_h) * h_candidate
                c_candidate = keep_c * c + (ONE - keep_c) * c_candidate
            c[...], y[...] = c_candidate, h_candidate
            h = y
            for name, array in record.items():
                array[t] = {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}[name]
        cell.h[...] = h


Kernel = LinearKernel | ScaleKernel | EmbeddingKernel | LSTMKernel


def kernel(layer: Layer, weights: Mapping[str, Floats]) -> Kernel:
    """The kernel of a layer; `weights` by the names of ``layer.tensors()``."""
    match layer:
        case Linear():
            return LinearKernel(layer, weights)
        case Scale():
            return ScaleKernel(weights)
        case Embedding():
            return EmbeddingKernel(weights)
        case LSTM():
            return LSTMKernel(layer, weights)
        case _:
            raise SettingError(f"layer {layer.name!r}: the engine has no kernel for layers of kind {layer.kind!r}")


def _frozen(array: Floats) -> Floats:
    """A contiguous copy that nobody can write to: an engine is shared between threads."""
    copy = np.array(array, np.float32, order="C")
    copy.flags.writeable = False
    return copy


def _order(weight: Floats, size: int) -> Floats:
    """Rows i, f, g, o (or i, g, o) in the order o, i, f, g (or o, i, g)."""
    return np.concatenate([weight[-size:], weight[: -2 * size], weight[-2 * size : -size]])


def _product(weight: Floats, x: Floats) -> Floats:
    """W x at every step, x (L, E, N); for a single row all steps become one product."""
    length, _, batch = x.shape
    if batch == 1 and length > 1:
        return np.matmul(x[:, :, 0], weight.T)[:, :, None]
    return np.matmul(weight, x)


def _normalise(v: Floats, gain: Floats, bias: Floats, *, axis: int) -> Floats:
    centred = v - v.mean(axis=axis, keepdims=True)
    variance = np.square(centred).mean(axis=axis, keepdims=True)
    centred /= np.sqrt(variance + EPSILON)
    centred *= gain
    centred += bias
    return centred


def _relu(y: Floats) -> Floats:
    return np.maximum(y, 0, out=y)


def _tanh(y: Floats) -> Floats:
    return np.tanh(y, out=y)


def _sigmoid(y: Floats) -> Floats:
    """σ(y) = (1 + tanh(y/2)) / 2, which does not overflow."""
    y *= HALF
    np.tanh(y, out=y)
    y += ONE
    y *= HALF
    return y


def _silu(y: Floats) -> Floats:
    """y·σ(y)"""
    y *= _sigmoid(y.copy())
    return y
