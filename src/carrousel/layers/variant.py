"""The options that make an LSTM layer a variant: declared and checked once, all off by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, TypeGuard

from ..errors import SettingError

Init = Literal["torch", "orthogonal"]


class VariantOptions(TypedDict, total=False):
    """The same options as keywords, for type checkers; that it lists those of :class:`Variant` a test holds."""

    peephole: bool
    coupled: bool
    layer_norm: bool
    recurrent_dropout: float
    variational_dropout: Sequence[float]
    zoneout: Sequence[float]
    weight_drop: float
    init: Init
    forget_bias: float | None
    trainable_state: bool


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Options of :class:`carrousel.layers.LSTM` beyond those of ``torch.nn.LSTM``; every combination is legal.

    Parameters
    ----------
    peephole : the gates see the cell, through diagonal weights: i and f that before the step, o that after it
    coupled : f = 1 − i; the rows of f do not exist
    layer_norm : normalise W_ih x, W_hh h and the cell's output, ε = 1e-5
    recurrent_dropout : probability of dropping an element of the gate update g, drawn anew at every step
    variational_dropout : probabilities (p_x, p_h) of dropping an element of the input and of the previous hidden value,
        drawn once per sequence and layer
    zoneout : probabilities (p_h, p_c) of an element of h and c keeping its old value; expectation in ``eval()``
    weight_drop : probability of dropping an element of ``weight_hh``, drawn once per ``forward``
    init : "torch", U(−1/√H, 1/√H); or "orthogonal", recurrent blocks orthogonal (Saxe et al. 2014), input blocks
        Glorot-uniform, biases 0
    forget_bias : the forget gate's bias at the start, None leaves it to ``init``
    trainable_state : h_0 and c_0 are parameters, used where no state is given

    Raises
    ------
    SettingError : a value of the wrong type or outside its range
    """

    peephole: bool = False
    coupled: bool = False
    layer_norm: bool = False
    recurrent_dropout: float = 0.0
    variational_dropout: Sequence[float] = (0.0, 0.0)
    zoneout: Sequence[float] = (0.0, 0.0)
    weight_drop: float = 0.0
    init: Init = "torch"
    forget_bias: float | None = None
    trainable_state: bool = False

    def __post_init__(self) -> None:
        for name in ("peephole", "coupled", "layer_norm", "trainable_state"):
            _check(name, "True or False", getattr(self, name), isinstance(getattr(self, name), bool))
        for name in ("recurrent_dropout", "weight_drop"):
            value = getattr(self, name)
            _check(name, "a probability in [0, 1)", value, _is_probability(value))
        for name in ("variational_dropout", "zoneout"):
            value = getattr(self, name)
            fits = isinstance(value, list | tuple) and len(value) == 2 and all(_is_probability(p) for p in value)
            _check(name, "two probabilities in [0, 1), such as (0.1, 0.1)", value, fits)
            object.__setattr__(self, name, tuple(float(p) for p in value))
        _check("init", '"torch" or "orthogonal"', self.init, self.init in ("torch", "orthogonal"))
        is_bias = self.forget_bias is None or (_is_number(self.forget_bias) and abs(self.forget_bias) < float("inf"))
        _check("forget_bias", "a finite number or None", self.forget_bias, is_bias)

    @property
    def gates(self) -> str:
        """The gates that have rows in the weights, in their order."""
        return "igo" if self.coupled else "ifgo"

    def needs_steps(self, training: bool) -> bool:
        """Whether something happens inside a step that torch's fused LSTM does not do."""
        always = self.peephole or self.layer_norm or any(self.zoneout)
        return always or (training and (self.recurrent_dropout > 0 or self.variational_dropout[1] > 0))

    def is_plain(self, training: bool) -> bool:
        """Whether torch's own forward of the whole stack is the answer."""
        dropped = self.weight_drop > 0 or self.variational_dropout[0] > 0
        return not (self.needs_steps(training) or self.coupled or (training and dropped))


def check_settings(
    input_size: object,
    hidden_size: object,
    num_layers: object,
    bias: object,
    batch_first: object,
    dropout: object,
    bidirectional: object,
    proj_size: object,
    forget_bias: float | None,
) -> None:
    """Check the settings that the layer shares with ``torch.nn.LSTM``.

    Raises
    ------
    SettingError : a setting of the wrong type, outside its range, or at odds with another one
    """
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        _check(name, "an integer of at least 1", size, _is_integer(size) and size >= 1)
    H = hidden_size if _is_integer(hidden_size) else 0
    expected = f"an integer in [0, {H}), which is below hidden_size"
    _check("proj_size", expected, proj_size, _is_integer(proj_size) and 0 <= proj_size < H)
    for name, value in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
        _check(name, "True or False", value, isinstance(value, bool))
    _check("dropout", "a probability in [0, 1]", dropout, _is_number(dropout) and 0.0 <= dropout <= 1.0)
    _check("forget_bias", "None where bias=False", forget_bias, bool(bias) or forget_bias is None)


def _check(name: str, expected: str, value: object, fits: bool) -> None:
    if not fits:
        raise SettingError(f"LSTM: {name}: expected {expected}, got {value!r}; change it or leave it out")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_probability(value: object) -> bool:
    return _is_number(value) and 0.0 <= value < 1.0
