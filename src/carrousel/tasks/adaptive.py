"""How a language model may adapt to the text that it is scored on: off unless asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from carrousel.config import Range, check


@dataclass(frozen=True, kw_only=True)
class NeuralCache:
    """What the tokens of the last places say of the next one: those whose state of the LSTM was like the present one.

    p_cache(w | h_1 .. h_t) ∝ Σ_{i < t, in the window} 1[w = x_{i+1}] exp(θ h_t·h_i);  p = (1 − λ) p_model + λ p_cache

    Parameters
    ----------
    window : places that are remembered
    theta : θ, how much alike counts more
    weight : λ; 0: as without a cache

    References
    ----------
    Grave, Joulin & Usunier 2017 (§3: eq. 3 and 4, linear interpolation).
    """

    window: Annotated[int, Range(1)] = 2000
    theta: Annotated[float, Range(0)] = 0.3
    weight: Annotated[float, Range(0, 1)] = 0.1

    def __post_init__(self) -> None:
        check(self, where="cache")


@dataclass(frozen=True, kw_only=True)
class DynamicEvaluation:
    """Steps of the gradient on what was read, each segment after it was scored.

    θ ← θ − η g / (√MS + m) + λ √MS / m (θ_0 − θ), MS the mean square of the gradients on the training text's end, m the
    mean of √MS over all weights.

    Parameters
    ----------
    rule : "rms"; "sgd" is θ ← θ − η g + λ (θ_0 − θ), whose rates are some ten to a hundred times as large
    rate : η; 0: as without
    decay : λ, towards the trained weights θ_0
    length : tokens of a segment

    References
    ----------
    Krause et al. 2018 (§4, eq. 3 and 5 to 7); the idea: Mikolov et al. 2010.
    """

    rule: Literal["rms", "sgd"] = "rms"
    rate: Annotated[float, Range(0)] = 3e-4
    decay: Annotated[float, Range(0, 1)] = 1e-3
    length: Annotated[int, Range(1)] = 32

    def __post_init__(self) -> None:
        check(self, where="dynamic")
