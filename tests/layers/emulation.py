"""The native training kernels in NumPy: the contract of ``_native.train_forward``, ``_backward`` and ``_mask``.

It stands in for them in the tests of what is around them, and is what they are compared with.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.layers.philox import words
from carrousel.layers.reference import EPSILON, sigmoid

Array = npt.NDArray[Any]


def choose_isa(name: str) -> str:
    return name or "numpy"


def train_mask(isa: str, address: int, count: int, width: int, key: int, bound: int, value: int, threads: int) -> None:
    kind = {2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}[width]
    if count:
        np.frombuffer((kind * count).from_address(address), kind)[:] = np.where(words(key, count) < bound, value, 0)


def _views(real: str, sizes: tuple[int, ...], pointers: dict[str, int]) -> dict[str, Array]:
    """The memory behind the pointers as arrays."""
    L, N, E, G, H, P, M = sizes
    views: dict[str, Array] = {}

    def view(name: str, kind: Any, *shape: int) -> None:
        if name in pointers:
            memory = (kind * int(np.prod(shape))).from_address(pointers[name])
            views[name] = np.frombuffer(memory, dtype=kind).reshape(shape)

    view("lengths", ctypes.c_int64, N)
    view("cell", ctypes.c_int64, L, N)
    view("place", ctypes.c_int64, M)
    assert (int(views["lengths"].sum()) if "lengths" in views else len(views.get("place", range(L * N)))) == M
    number = {"float32": ctypes.c_float, "bfloat16": ctypes.c_float, "float64": ctypes.c_double}[real]
    for name, width in {"z": G * H, "c": H, "a_hat": G * H, "r_hat": G * H, "u_hat": H, "m": H}.items():
        view(name, number, M, width)
    for name in ("a_scale", "r_scale", "u_scale"):
        view(name, number, M)
    for name in ("h_0", "h_n", "d_h_0", "d_h_n", "mask_h"):
        view(name, number, N, P)
    for name in ("c_0", "c_n", "d_c_0", "d_c_n"):
        view(name, number, N, H)
    for name, width in {"y": P, "d_y": P, "mask_g": H, "keep_h": P, "keep_c": H}.items():
        view(name, number, L, N, width)
    rows = {"b_ih": G * H, "b_hh": G * H, "gain_ih": G * H, "gain_hh": G * H, "gain_c": H, "bias_c": H}
    for prefix in ("", "d_"):
        for name, count in {**rows, "peephole": (G - 1) * H}.items():
            view(prefix + name, number, count)
        view(prefix + "x", number, L, N, E)
        view(prefix + "w_ih", number, G * H, E)
        view(prefix + "w_hh", number, G * H, P)
        view(prefix + "w_hr", number, P, H)
    assert views.keys() == pointers.keys(), pointers.keys() - views.keys()
    return views


def _product(real: str, a: Array, b: Array) -> Array:
    """a b; of factors rounded to bfloat16 where that is asked for."""
    return _rounded(a) @ _rounded(b) if real == "bfloat16" else a @ b


def _rounded(values: Array) -> Array:
    """The nearest of what bfloat16 holds, even where two are as near."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(
        np.float32
    )


def _steps(v: dict[str, Array], L: int, N: int, reverse: bool) -> Iterator[tuple[int, Array, Array]]:
    """Time, rows that are valid then, their cells; in the order of running."""
    lengths = v.get("lengths", np.full(N, L))
    cell = v.get("cell", np.arange(L * N).reshape(L, N))
    for t in reversed(range(L)) if reverse else range(L):
        rows = np.flatnonzero(t < lengths)
        assert (cell[t, rows] >= 0).all()
        yield t, rows, cell[t, rows]


def _keeps(v: dict[str, Array], keep: tuple[float, float], t: int, rows: Array) -> list[Any]:
    return [v[k][t, rows] if k in v else number for k, number in zip(("keep_h", "keep_c"), keep, strict=True)]


def _norm(x: Array) -> tuple[Array, Array]:
    scale = np.sqrt(x.var(axis=1) + EPSILON)
    return (x - x.mean(axis=1, keepdims=True)) / scale[:, None], scale


def _norm_back(d_hat: Array, hat: Array, scale: Array) -> Array:
    along = (d_hat * hat).mean(axis=1, keepdims=True)
    return (d_hat - d_hat.mean(axis=1, keepdims=True) - hat * along) / scale[:, None]


def train_forward(
    isa: str, real: str, sizes: tuple[int, ...], pointers: dict[str, int], keep: tuple[float, float],
    reverse: bool, threads: int,
) -> None:  # fmt: skip
    L, N, E, G, H, *_ = sizes
    v = _views(real, sizes, pointers)
    a = _product(real, v["x"].reshape(L * N, E)[v.get("place", slice(None))], v["w_ih"].T)
    if "gain_ih" in v:
        v["a_hat"][:], v["a_scale"][:] = _norm(a)
        v["z"][:] = v["gain_ih"] * v["a_hat"] + v.get("b_ih", 0)
    else:
        v["z"][:] = a + (v.get("b_ih", 0) + v.get("b_hh", 0))
    h, c = v["h_0"].copy(), v["c_0"].copy()
    v["y"][:] = 0
    p = v["peephole"].reshape(G - 1, H) if "peephole" in v else np.zeros((G - 1, H), h.dtype)
    for t, rows, cells in _steps(v, L, N, reverse):
        seen = h[rows] * v["mask_h"][rows] if "mask_h" in v else h[rows]
        r = _product(real, seen, v["w_hh"].T)
        if "gain_hh" in v:
            v["r_hat"][cells], v["r_scale"][cells] = _norm(r)
            r = v["gain_hh"] * v["r_hat"][cells] + v.get("b_hh", 0)
        z = v["z"][cells] + r
        before = c[rows]
        *z_seen, z_g, z_o = np.split(z, G, axis=1)
        i, *f = (sigmoid(z_k + p_k * before) for z_k, p_k in zip(z_seen, p, strict=False))
        g = np.tanh(z_g)
        forget = f[0] if f else 1 - i
        candidate = forget * before + i * (g * v["mask_g"][t, rows] if "mask_g" in v else g)
        o = sigmoid(z_o + p[-1] * candidate)
        u = candidate
        if "gain_c" in v:
            v["u_hat"][cells], v["u_scale"][cells] = _norm(candidate)
            u = v["gain_c"] * v["u_hat"][cells] + v.get("bias_c", 0)
        m = o * np.tanh(u)
        if "w_hr" in v:
            v["m"][cells] = m
            m = _product(real, m, v["w_hr"].T)
        k_h, k_c = _keeps(v, keep, t, rows)
        v["z"][cells] = np.concatenate([i, *f, g, o], axis=1)
        h[rows] = k_h * h[rows] + (1 - k_h) * m
        c[rows] = v["c"][cells] = k_c * before + (1 - k_c) * candidate
        v["y"][t, rows] = h[rows]
    v["h_n"][:], v["c_n"][:] = h, c


def train_backward(
    isa: str, real: str, sizes: tuple[int, ...], pointers: dict[str, int], keep: tuple[float, float],
    reverse: bool, threads: int,
) -> None:  # fmt: skip
    L, N, E, G, H, P, M = sizes
    v = _views(real, sizes, pointers)
    d_h, d_c = (v[f"d_{k}_n"].copy() if f"d_{k}_n" in v else np.zeros_like(v[f"{k}_0"]) for k in "hc")
    shapes = {"d_z": G * H, "d_r": G * H, "d_u": H, "d_p": P, "before": H, "candidate": H}
    own = {name: np.zeros((M, width), d_h.dtype) for name, width in shapes.items()}
    p = v["peephole"].reshape(G - 1, H) if "peephole" in v else np.zeros((G - 1, H), d_h.dtype)
    steps = list(_steps(v, L, N, reverse))
    cell = v.get("cell", np.arange(L * N).reshape(L, N))
    lengths = v.get("lengths", np.full(N, L))
    for t, rows, cells in reversed(steps):
        earlier = t + 1 if reverse else t - 1
        inside = (earlier >= 0) & (earlier < lengths[rows])
        before = v["c_0"][rows]
        before[inside] = v["c"][cell[earlier % L, rows[inside]]]
        i, *f, g, o = np.split(v["z"][cells], G, axis=1)
        forget = f[0] if f else 1 - i
        mask_g = v["mask_g"][t, rows] if "mask_g" in v else 1
        candidate = forget * before + i * g * mask_g
        own["before"][cells], own["candidate"][cells] = before, candidate
        k_h, k_c = _keeps(v, keep, t, rows)

        d = d_h[rows] + v["d_y"][t, rows]
        d_h[rows], d_m = k_h * d, (1 - k_h) * d
        if "w_hr" in v:
            own["d_p"][cells] = d_m
            d_m = _product(real, d_m, v["w_hr"])
        u = candidate
        if "gain_c" in v:
            u = v["gain_c"] * v["u_hat"][cells] + v.get("bias_c", 0)
        tanh_u = np.tanh(u)
        d_z_o = d_m * tanh_u * o * (1 - o)
        d_u = d_m * o * (1 - tanh_u**2)
        if "gain_c" in v:
            own["d_u"][cells] = d_u
            d_u = _norm_back(d_u * v["gain_c"], v["u_hat"][cells], v["u_scale"][cells])
        d_candidate = (1 - k_c) * d_c[rows] + d_u + d_z_o * p[-1]
        d_before = k_c * d_c[rows] + d_candidate * forget
        d_i, d_f = d_candidate * g * mask_g, d_candidate * before
        d_seen = [d_i * i * (1 - i), d_f * forget * (1 - forget)] if f else [(d_i - d_f) * i * (1 - i)]
        d_before = d_before + sum(d_k * p_k for d_k, p_k in zip(d_seen, p, strict=False))
        d_z = np.concatenate([*d_seen, d_candidate * i * mask_g * (1 - g**2), d_z_o], axis=1)
        own["d_z"][cells] = d_z
        if "gain_hh" in v:
            d_z = own["d_r"][cells] = _norm_back(d_z * v["gain_hh"], v["r_hat"][cells], v["r_scale"][cells])
        d_recurrent = _product(real, d_z, v["w_hh"])
        d_h[rows] += d_recurrent * v["mask_h"][rows] if "mask_h" in v else d_recurrent
        d_c[rows] = d_before
    v["d_h_0"][:], v["d_c_0"][:] = d_h, d_c

    d_a, d_r = own["d_z"], own["d_z"]
    if "gain_ih" in v:
        d_a, d_r = _norm_back(own["d_z"] * v["gain_ih"], v["a_hat"], v["a_scale"]), own["d_r"]
        v["d_gain_ih"] += (own["d_z"] * v["a_hat"]).sum(0)
        v["d_gain_hh"] += (own["d_z"] * v["r_hat"]).sum(0)
        v["d_gain_c"] += (own["d_u"] * v["u_hat"]).sum(0)
        if "d_bias_c" in v:
            v["d_bias_c"] += own["d_u"].sum(0)
    if "d_b_ih" in v:
        v["d_b_ih"] += own["d_z"].sum(0)
        v["d_b_hh"][:] = v["d_b_ih"]
    if "d_peephole" in v:
        *d_seen, _, d_o = np.split(own["d_z"], G, axis=1)
        v["d_peephole"] += np.concatenate(
            [*((d_k * own["before"]).sum(0) for d_k in d_seen), (d_o * own["candidate"]).sum(0)]
        )
    place = v.get("place", np.arange(M))
    t, row = place // N, place % N
    at_first = t + 1 == lengths[row] if reverse else t == 0
    earlier = np.where(at_first, place, place + (N if reverse else -N))
    h = np.where(at_first[:, None], v["h_0"][row], v["y"].reshape(L * N, P)[earlier])
    if "mask_h" in v:
        h = h * v["mask_h"][row]
    v["d_w_ih"] += _product(real, d_a.T, v["x"].reshape(L * N, E)[place])
    v["d_w_hh"] += _product(real, d_r.T, h)
    if "d_w_hr" in v:
        v["d_w_hr"] += _product(real, own["d_p"].T, v["m"])
    if "d_x" in v:
        v["d_x"].reshape(L * N, E)[place] = _product(real, d_a, v["w_ih"])
