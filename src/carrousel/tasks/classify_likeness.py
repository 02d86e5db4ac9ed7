"""What a sequence of numbers is by its likeness, as a whole, to those of the training: closed form beside the networks.

Where few examples lie step upon step, as the hours of a day or the wave lengths of a spectrum do, such a comparison is
better than any network; where what matters moves about, networks are. What each counts is found on what was held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.errors import WeightsError
from carrousel.features.classify import POINTS, VIEWS, ClassifySizes, stretched, views
from carrousel.heads.kernel import KernelRidge
from carrousel.tasks.classify_baseline import expected_arrays, remembered

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]
Inputs = Sequence[npt.NDArray[np.generic]]
BLOCK = 256  # sequences that are stretched at once
ARRAYS = {"duals": ("float64", 2), "centre": ("float64", 1), "medians": ("float64", 1), "gamma": ("float64", 1)}


def learn_likeness(inputs: Inputs, target: Index, classes: int) -> tuple[Arrays, Floats]:
    """The arrays that ``context.safetensors`` holds beside the baseline's neighbours; and scores (N, C).

    Parameters
    ----------
    inputs : scaled sequences, each (L, K)
    target : the class of each, int64 (N,)

    Returns
    -------
    arrays, scores : those of each training sequence are by the others
    """
    some = remembered(len(inputs))
    model, left_out = KernelRidge.learn(views(stretched([inputs[k] for k in some])), target[some], classes)
    scores = np.empty((len(inputs), classes))
    scores[some] = left_out
    if len(others := np.setdiff1d(np.arange(len(inputs)), some)):
        scores[others] = likeness_scores(model, [inputs[k] for k in others])
    arrays = {
        "duals": model.duals, "centre": model.centre, "medians": model.medians, "gamma": np.array([model.gamma]),
    }  # fmt: skip
    return arrays, scores


def likeness_scores(model: KernelRidge, inputs: Inputs) -> Floats:
    """Scores (N, C) of scaled sequences (L, K), of which few at a time are stretched."""
    blocks = range(0, len(inputs), BLOCK)
    return np.concatenate([model.scores(views(stretched(inputs[first : first + BLOCK]))) for first in blocks])


def likeness_of(context: Mapping[str, npt.NDArray[Any]]) -> KernelRidge:
    """The model of the arrays in ``context.safetensors``."""
    return KernelRidge(
        views=views(context["neighbours"]),
        duals=context["duals"],
        centre=context["centre"],
        medians=context["medians"],
        gamma=float(context["gamma"][0]),
    )


def checked_context(context: Mapping[str, npt.NDArray[Any]], sizes: ClassifySizes, weight: float) -> Arrays:
    """The arrays of ``context.safetensors``, which fit each other.

    Parameters
    ----------
    weight : of the likeness; 0: there is none

    Raises
    ------
    WeightsError : arrays that are missing, too many, of other types or shapes
    """
    expected = expected_arrays(sizes.kind, sizes.steps) | (ARRAYS if weight else {})
    found = {name: (str(array.dtype), array.ndim) for name, array in context.items()}
    if found != expected:
        raise WeightsError(
            f"context.safetensors: expected {', '.join(sorted(expected))}, got {', '.join(sorted(found)) or 'nothing'}"
            ", or of other types; save the model again"
        )
    if weight:
        classes, known = sizes.classes, context["neighbours"]
        shapes = {"neighbours": (len(known), POINTS * sizes.inputs), "duals": (len(known), classes)}
        for name, shape in (shapes | {"centre": (classes,), "medians": (VIEWS,), "gamma": (1,)}).items():
            if context[name].shape != shape:
                raise WeightsError(
                    f"context.safetensors: {name}: expected {shape}, got {context[name].shape}; save the model again"
                )
    return dict(context)
