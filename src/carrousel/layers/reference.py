"""The LSTM and its variants as equations: NumPy float64, every gate of every step visible, backward derived by hand.

This is the specification. It is slow and meant to be read beside the papers; every faster path is tested against it.

One step, for a batch of rows (gates in torch's order i, f, g, o; biases and terms that a variant lacks are left out):

    N(v; α, β) = α·(v − mean v) / √(var v + ε) + β
    z  = W_ih x + b_ih + W_hh h + b_hh                        or, with layer normalisation,
    z  = N(W_ih x; gain_ih, b_ih) + N(W_hh h; gain_hh, b_hh)
    i  = σ(z_i + p_i·c)
    f  = σ(z_f + p_f·c)                                       coupled: f = 1 − i
    g  = tanh(z_g)
    c̃  = f·c + i·g
    o  = σ(z_o + p_o·c̃)
    h̃  = W_hr (o·tanh(u)),  u = c̃                             or, with layer normalisation, u = N(c̃; gain_c, b_c)
    c' = k_c·c + (1 − k_c)·c̃
    h' = k_h·h + (1 − k_h)·h̃                                  k = 0 without zoneout

References
----------
Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000; peepholes p: Gers & Schmidhuber 2000;
coupled gate: Greff et al. 2017 (CIFG); layer normalisation: Ba, Kiros & Hinton 2016 (eq. 20–22); projection W_hr: Sak,
Senior & Beaufays 2014; zoneout k: Krueger et al. 2017 (eq. 4–5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Parameters = Mapping[str, Array]

EPSILON = 1e-5
"""ε of the layer normalisation, as in ``torch.nn.LayerNorm``."""


@dataclass(frozen=True, kw_only=True)
class Masks:
    """What the stochastic regularisers multiply with in one layer and direction; 1 or 0 where they are off.

    Parameters
    ----------
    x, h : (N, E), (N, P); locked masks of the input and of the previous hidden value (Gal & Ghahramani 2016)
    g : (L, N, H); mask of the gate update, c̃ = f·c + i·(g·mask) (Semeniuta, Severyn & Barth 2016)
    keep_h, keep_c : (L, N, P), (L, N, H); zoneout's k, 1 where the old value stays, or its expectation
    w : (G·H, P); mask of W_hh (Merity, Keskar & Socher 2018)
    """

    x: Array | float = 1.0
    h: Array | float = 1.0
    g: Array | float = 1.0
    keep_h: Array | float = 0.0
    keep_c: Array | float = 0.0
    w: Array | float = 1.0


@dataclass(frozen=True, kw_only=True)
class Normed:
    """v̂ = (v − mean v) / s and s = √(var v + ε): what N's backward needs."""

    hat: Array
    scale: Array


@dataclass(frozen=True, kw_only=True)
class Step:
    """Everything that one step computed, each (N, ·); rows that are padding at this step hold values of no meaning."""

    t: int
    valid: npt.NDArray[np.bool_]
    x: Array
    h_before: Array
    c_before: Array
    i: Array
    f: Array
    g: Array
    o: Array
    c_candidate: Array
    tanh_u: Array
    c: Array
    h: Array
    norm_ih: Normed | None
    norm_hh: Normed | None
    norm_c: Normed | None


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One layer run over time in one direction: its steps in the order in which they ran, and its gates by time.

    ``i``, ``f``, ``g``, ``o``, ``c`` (L, N, H) and ``h`` (L, N, P) are indexed by time; padding holds zeros.
    """

    suffix: str
    steps: list[Step]
    masks: Masks
    h_n: Array
    c_n: Array

    def by_time(self, name: str) -> Array:
        steps = sorted(self.steps, key=lambda step: step.t)
        return np.stack([np.where(step.valid, getattr(step, name), 0.0) for step in steps])

    i = property(lambda self: self.by_time("i"))
    f = property(lambda self: self.by_time("f"))
    g = property(lambda self: self.by_time("g"))
    o = property(lambda self: self.by_time("o"))
    c = property(lambda self: self.by_time("c"))
    h = property(lambda self: self.by_time("h"))


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A whole stack: ``layers[k][direction]``, output (L, N, D·P), h_n (layers·D, N, P), c_n (layers·D, N, H)."""

    layers: list[list[Direction]]
    output: Array
    h_n: Array
    c_n: Array


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """∂loss/∂(each parameter, x, h_0, c_0), in the shapes of what they are derivatives by."""

    parameters: dict[str, Array]
    x: Array
    h_0: Array
    c_0: Array


def sigmoid(z: Array) -> Array:
    """σ(z) = (1 + tanh(z/2)) / 2, which does not overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def suffixes(parameters: Parameters) -> list[list[str]]:
    """The endings of the parameter names, by layer and direction: ``[["_l0", "_l0_reverse"], ...]``."""
    directions = ["", "_reverse"] if "weight_ih_l0_reverse" in parameters else [""]
    layers = sum(name.startswith("weight_ih_l") for name in parameters) // len(directions)
    return [[f"_l{layer}{direction}" for direction in directions] for layer in range(layers)]


def _norm(v: Array, gain: Array, bias: Array | float) -> tuple[Array, Normed]:
    scale = np.sqrt(v.var(axis=-1, keepdims=True) + EPSILON)
    hat = (v - v.mean(axis=-1, keepdims=True)) / scale
    return gain * hat + bias, Normed(hat=hat, scale=scale)


def _norm_backward(d: Array, gain: Array, normed: Normed) -> tuple[Array, Array, Array]:
    """From d = ∂/∂N(v; α, β) to ∂/∂v, ∂/∂α, ∂/∂β."""
    d_hat = d * gain
    along = (d_hat * normed.hat).mean(axis=-1, keepdims=True)
    d_v = (d_hat - d_hat.mean(axis=-1, keepdims=True) - normed.hat * along) / normed.scale
    return d_v, (d * normed.hat).sum(axis=0), d.sum(axis=0)


def _peepholes(parameters: Parameters, suffix: str, coupled: bool, H: int) -> tuple[Array, Array, Array]:
    """p_i, p_f, p_o; zeros where the variant has none."""
    p = parameters.get(f"weight_ch{suffix}", np.zeros((2 if coupled else 3) * H))
    if coupled:
        p_i, p_o = np.split(p, 2)
        return p_i, np.zeros(H), p_o
    p_i, p_f, p_o = np.split(p, 3)
    return p_i, p_f, p_o


def _scan(
    parameters: Parameters, suffix: str, x: Array, h: Array, c: Array, lengths: npt.NDArray[np.int64], masks: Masks
) -> Direction:
    """Run one layer over time in one direction. A row whose step is padding keeps its state."""
    L, N, _ = x.shape
    H = c.shape[-1]
    W_ih, W_hh = parameters[f"weight_ih{suffix}"], parameters[f"weight_hh{suffix}"] * masks.w
    b_ih, b_hh = parameters.get(f"bias_ih{suffix}", 0.0), parameters.get(f"bias_hh{suffix}", 0.0)
    W_hr = parameters.get(f"weight_hr{suffix}")
    layer_norm = f"gain_c{suffix}" in parameters
    coupled = len(W_ih) == 3 * H
    p_i, p_f, p_o = _peepholes(parameters, suffix, coupled, H)
    mask_g, keep_h, keep_c = (
        np.broadcast_to(mask, (L, N, width))
        for mask, width in ((masks.g, H), (masks.keep_h, h.shape[-1]), (masks.keep_c, H))
    )

    steps: list[Step] = []
    for t in reversed(range(L)) if suffix.endswith("_reverse") else range(L):
        valid = (t < lengths)[:, None]
        x_t = np.where(valid, x[t], 0.0) * masks.x
        norm_ih = norm_hh = norm_c = None
        if layer_norm:
            a, norm_ih = _norm(x_t @ W_ih.T, parameters[f"gain_ih{suffix}"], b_ih)
            r, norm_hh = _norm((h * masks.h) @ W_hh.T, parameters[f"gain_hh{suffix}"], b_hh)
        else:
            a = x_t @ W_ih.T + b_ih
            r = (h * masks.h) @ W_hh.T + b_hh
        z = a + r

        if coupled:
            z_i, z_g, z_o = np.split(z, 3, axis=-1)
            i = sigmoid(z_i + p_i * c)
            f = 1.0 - i
        else:
            z_i, z_f, z_g, z_o = np.split(z, 4, axis=-1)
            i = sigmoid(z_i + p_i * c)
            f = sigmoid(z_f + p_f * c)
        g = np.tanh(z_g)
        c_candidate = f * c + i * (g * mask_g[t])
        o = sigmoid(z_o + p_o * c_candidate)
        u = c_candidate
        if layer_norm:
            u, norm_c = _norm(c_candidate, parameters[f"gain_c{suffix}"], parameters.get(f"bias_c{suffix}", 0.0))
        tanh_u = np.tanh(u)
        h_candidate = o * tanh_u
        if W_hr is not None:
            h_candidate = h_candidate @ W_hr.T

        c_after = np.where(valid, keep_c[t] * c + (1.0 - keep_c[t]) * c_candidate, c)
        h_after = np.where(valid, keep_h[t] * h + (1.0 - keep_h[t]) * h_candidate, h)
        steps.append(
            Step(
                t=t, valid=valid, x=x_t, h_before=h, c_before=c, i=i, f=f, g=g, o=o, c_candidate=c_candidate,
                tanh_u=tanh_u, c=c_after, h=h_after, norm_ih=norm_ih, norm_hh=norm_hh, norm_c=norm_c,
            )
        )  # fmt: skip
        h, c = h_after, c_after
    return Direction(suffix=suffix, steps=steps, masks=masks, h_n=h, c_n=c)


def _scan_backward(
    parameters: Parameters, run: Direction, d_y: Array, d_h: Array, d_c: Array, gradients: dict[str, Array]
) -> tuple[Array, Array, Array]:
    """Backpropagation through time of one layer and direction: adds to ``gradients``, returns ∂x, ∂h_0, ∂c_0."""
    suffix, masks = run.suffix, run.masks
    (L, N, _), H = d_y.shape, d_c.shape[-1]
    W_ih, W_hh = parameters[f"weight_ih{suffix}"], parameters[f"weight_hh{suffix}"] * masks.w
    W_hr = parameters.get(f"weight_hr{suffix}")
    coupled = len(W_ih) == 3 * H
    p_i, p_f, p_o = _peepholes(parameters, suffix, coupled, H)
    mask_g, keep_h, keep_c = (
        np.broadcast_to(mask, (L, N, width))
        for mask, width in ((masks.g, H), (masks.keep_h, d_h.shape[-1]), (masks.keep_c, H))
    )
    d_x = np.zeros((L, N, W_ih.shape[1]))

    def add(name: str, value: Array) -> None:
        if f"{name}{suffix}" in parameters:
            gradients[f"{name}{suffix}"] += value

    for step in reversed(run.steps):
        t, i, f, g, o, c = step.t, step.i, step.f, step.g, step.o, step.c_before
        # What arrives at a padded step goes to the step before it, untouched.
        d_h_padded, d_c_padded = np.where(step.valid, 0.0, d_h), np.where(step.valid, 0.0, d_c)
        d_h, d_c = np.where(step.valid, d_h + d_y[t], 0.0), np.where(step.valid, d_c, 0.0)

        d_h_candidate, d_h = (1.0 - keep_h[t]) * d_h, keep_h[t] * d_h
        d_c_candidate, d_c = (1.0 - keep_c[t]) * d_c, keep_c[t] * d_c

        d_m = d_h_candidate
        if W_hr is not None:
            add("weight_hr", d_h_candidate.T @ (o * step.tanh_u))
            d_m = d_h_candidate @ W_hr
        d_z_o = d_m * step.tanh_u * o * (1.0 - o)
        d_u = d_m * o * (1.0 - step.tanh_u**2)
        if step.norm_c is not None:
            d_u, d_gain, d_bias = _norm_backward(d_u, parameters[f"gain_c{suffix}"], step.norm_c)
            add("gain_c", d_gain)
            add("bias_c", d_bias)
        d_c_candidate = d_c_candidate + d_u + d_z_o * p_o

        d_c = d_c + d_c_candidate * f
        d_f = d_c_candidate * c
        d_i = d_c_candidate * g * mask_g[t]
        d_z_g = d_c_candidate * i * mask_g[t] * (1.0 - g**2)
        if coupled:
            d_z_i = (d_i - d_f) * i * (1.0 - i)
            d_c = d_c + d_z_i * p_i
            d_z = np.concatenate([d_z_i, d_z_g, d_z_o], axis=-1)
            d_p = np.concatenate([d.sum(axis=0) for d in (d_z_i * c, d_z_o * step.c_candidate)])
        else:
            d_z_i = d_i * i * (1.0 - i)
            d_z_f = d_f * f * (1.0 - f)
            d_c = d_c + d_z_i * p_i + d_z_f * p_f
            d_z = np.concatenate([d_z_i, d_z_f, d_z_g, d_z_o], axis=-1)
            d_p = np.concatenate(
                [(d * at).sum(axis=0) for d, at in ((d_z_i, c), (d_z_f, c), (d_z_o, step.c_candidate))]
            )
        add("weight_ch", d_p)

        d_a = d_r = d_z
        if step.norm_ih is not None and step.norm_hh is not None:
            d_a, d_gain, _ = _norm_backward(d_z, parameters[f"gain_ih{suffix}"], step.norm_ih)
            add("gain_ih", d_gain)
            d_r, d_gain, _ = _norm_backward(d_z, parameters[f"gain_hh{suffix}"], step.norm_hh)
            add("gain_hh", d_gain)
        add("bias_ih", d_z.sum(axis=0))
        add("bias_hh", d_z.sum(axis=0))
        add("weight_ih", d_a.T @ step.x)
        add("weight_hh", d_r.T @ (step.h_before * masks.h) * masks.w)
        d_x[t] = d_a @ W_ih * masks.x
        d_h = d_h + d_r @ W_hh * masks.h + d_h_padded
        d_c = d_c + d_c_padded
    return d_x, d_h, d_c


def _shapes(parameters: Parameters) -> tuple[int, int, int]:
    """layers·D, H, P, which the parameters' shapes imply."""
    runs = sum(len(directions) for directions in suffixes(parameters))
    P = parameters["weight_hh_l0"].shape[1]
    H = parameters["weight_hr_l0"].shape[1] if "weight_hr_l0" in parameters else P
    return runs, H, P


def lstm(
    parameters: Parameters,
    x: Array,
    h_0: Array | None = None,
    c_0: Array | None = None,
    *,
    lengths: Sequence[int] | npt.NDArray[np.int64] | None = None,
    zoneout: tuple[float, float] = (0.0, 0.0),
    masks: Mapping[str, Masks] | None = None,
) -> Trace:
    """Run a stack of LSTM layers; which variant it is, the names and shapes of its parameters say.

    Parameters
    ----------
    parameters : float64 arrays under the names of ``carrousel.layers.LSTM.state_dict()``
    x : float64 (L, N, H_in)
    h_0, c_0 : float64 (layers·D, N, P), (layers·D, N, H); None: the trainable ``h_0``, ``c_0`` if there are any, else 0
    lengths : valid steps of each row, (N,); None: all L
    zoneout : probabilities (p_h, p_c); the step uses their expectation
    masks : for each name ending (``_l0``, ``_l0_reverse``, ...) what the stochastic regularisers multiply with; it then
        also replaces ``zoneout``

    Returns
    -------
    Trace : every gate of every step, output, h_n, c_n; give it to :func:`lstm_backward`
    """
    runs, H, P = _shapes(parameters)
    L, N, _ = x.shape
    zero = Masks(keep_h=zoneout[0], keep_c=zoneout[1])
    steps = np.full(N, L) if lengths is None else np.asarray(lengths)
    state = [(h_0, "h_0", P), (c_0, "c_0", H)]
    h, c = (
        np.broadcast_to(parameters.get(name, np.zeros((runs, width)))[:, None], (runs, N, width)) if s is None else s
        for s, name, width in state
    )
    layers: list[list[Direction]] = []
    for layer, endings in enumerate(suffixes(parameters)):
        directions = [
            _scan(
                parameters, suffix, x, h[layer * len(endings) + d], c[layer * len(endings) + d], steps,
                zero if masks is None else masks[suffix],
            )
            for d, suffix in enumerate(endings)
        ]  # fmt: skip
        x = np.concatenate([direction.h for direction in directions], axis=-1)
        layers.append(directions)
    flat = [direction for directions in layers for direction in directions]
    return Trace(layers=layers, output=x, h_n=np.stack([d.h_n for d in flat]), c_n=np.stack([d.c_n for d in flat]))


def lstm_backward(parameters: Parameters, trace: Trace, d_output: Array, d_h_n: Array, d_c_n: Array) -> Gradients:
    """Gradients of any loss, given its derivatives by the three results of :func:`lstm`.

    Parameters
    ----------
    parameters : those that ``trace`` was made with
    d_output, d_h_n, d_c_n : float64, in the shapes of ``trace.output``, ``trace.h_n``, ``trace.c_n``

    Returns
    -------
    Gradients : by every parameter, x, h_0 and c_0. A trainable initial state gets that of h_0, c_0 summed over rows
    """
    gradients = {name: np.zeros_like(value) for name, value in parameters.items()}
    d_h_0, d_c_0 = np.zeros_like(d_h_n), np.zeros_like(d_c_n)
    d_y = d_output
    for layer, directions in reversed(list(enumerate(trace.layers))):
        d_inputs: list[Array] = []
        for d, (run, d_y_run) in enumerate(zip(directions, np.split(d_y, len(directions), axis=-1), strict=True)):
            k = layer * len(directions) + d
            d_x, d_h_0[k], d_c_0[k] = _scan_backward(parameters, run, d_y_run, d_h_n[k], d_c_n[k], gradients)
            d_inputs.append(d_x)
        d_y = np.sum(d_inputs, axis=0)
    for name, total in (("h_0", d_h_0), ("c_0", d_c_0)):
        if name in parameters:
            gradients[name] = total.sum(axis=1)
    return Gradients(parameters=gradients, x=d_y, h_0=d_h_0, c_0=d_c_0)
