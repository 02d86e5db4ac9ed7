"""Kernel ridge regression in closed form: what an example is by how like each example of the training it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

GAMMAS = (0.1, 0.3, 1.0, 3.0, 10.0)  # how fast likeness falls with distance
RIDGES = tuple(10.0 ** (k / 2) for k in range(-8, 3))
SAMPLE = 600  # examples by which γ is chosen where there are more: each γ costs M³
BLOCK = 256  # rows whose distances are held at once


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelRidge:
    """Scores of classes as a sum over examples, s_c(x) = μ_c + Σ_i k(x, x_i)·α_ic.

    k(x, x') = mean over the views v of 1 / (1 + γ·|v(x) − v(x')|² / m_v),   m_v the median over the examples

    A class's target is 1 where an example is of it, −1 elsewhere, μ their mean. γ and the ridge are those with the
    least squared error of the examples, each by the others, for which there is a formula.

    Parameters
    ----------
    views : of the M examples, each float64 (M, D_v)
    duals : α, float64 (M, C)
    centre : μ, float64 (C,)
    medians : m of each view, float64
    gamma : γ

    References
    ----------
    Saunders, Gammerman & Vovk 1998 (§2); leaving one out: Rifkin & Lippert 2007 (§3); the kernel, a mixture of Gaussian
    ones of all widths: Rasmussen & Williams 2006 (eq. 4.19).
    """

    views: tuple[Floats, ...]
    duals: Floats
    centre: Floats
    medians: Floats
    gamma: float

    @classmethod
    def learn(cls, views: Sequence[Floats], truth: npt.NDArray[np.int64], classes: int) -> tuple[KernelRidge, Floats]:
        """Of M examples and their classes; and each one's scores by the others, float64 (M, C).

        Parameters
        ----------
        views : each (M, D_v), M ≥ 2
        truth : int64 (M,)
        """
        apart = [_distances(view, view, (view**2).sum(1)) for view in views]
        upper = np.triu_indices(len(truth), 1)
        medians = np.array([max(float(np.median(d[upper])), 1e-12) for d in apart])
        aim = 2.0 * (truth[:, None] == np.arange(classes)) - 1
        centre = aim.mean(0)
        best: tuple[float, float, Floats, Floats] | None = None
        gammas = GAMMAS
        if len(truth) > SAMPLE:
            some = np.sort(np.random.default_rng(0).permutation(len(truth))[:SAMPLE])
            gammas = (cls.learn([view[some] for view in views], truth[some], classes)[0].gamma,)
        for gamma in gammas:
            values, vectors = np.linalg.eigh(_kernel(apart, medians, gamma))
            values, turned = np.maximum(values, 0.0), vectors.T @ (aim - centre)
            for ridge in RIDGES:
                weight = 1 / (values + ridge)
                duals = vectors @ (weight[:, None] * turned)
                missed = duals / ((vectors**2) @ weight)[:, None]  # aim − score by the others
                error = float((missed**2).mean())
                if best is None or error < best[0]:
                    best = error, gamma, duals, aim - missed
        assert best is not None
        _, gamma, duals, left_out = best
        found = cls(views=tuple(views), duals=duals, centre=centre, medians=medians, gamma=gamma)
        return found, left_out

    @cached_property
    def _squares(self) -> tuple[Floats, ...]:
        return tuple((view**2).sum(1) for view in self.views)

    def scores(self, views: Sequence[Floats]) -> Floats:
        """(N, C) of other examples, each of whose views is (N, D_v)."""
        found: list[Floats] = []
        squares = self._squares
        for first in range(0, len(views[0]), BLOCK):
            rows = [view[first : first + BLOCK] for view in views]
            apart = [_distances(own, known, s) for own, known, s in zip(rows, self.views, squares, strict=True)]
            found.append(_kernel(apart, self.medians, self.gamma) @ self.duals + self.centre)
        return np.concatenate(found)


def _distances(a: Floats, b: Floats, squares: Floats) -> Floats:
    """Squares of Euclid's distances, (len(a), len(b)); `squares` are the lengths' of the rows of b."""
    return np.maximum((a**2).sum(1)[:, None] + squares - 2 * a @ b.T, 0.0)


def _kernel(apart: Sequence[Floats], medians: Floats, gamma: float) -> Floats:
    parts = [1 / (1 + gamma * d / m) for d, m in zip(apart, medians, strict=True)]
    return np.asarray(sum(parts) / len(parts), np.float64)
