"""``torch.nn.LSTM`` and, each off by default, what the literature added to it; ragged batches without packing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from ..errors import SettingError, ShapeError
from .cell import Weights, directed, fused, stepwise, torch_lstm
from .dropout import draw
from .initialise import initialise
from .mask import dropout
from .preference import preference
from .scan import Ragged, missing, scan, vectorised
from .state import LSTMState
from .variant import Variant, VariantOptions, check_settings

CALL = 1_000_000
"""Multiplications of a plain layer's forward from which on native training saves more than its longer call costs."""


class LSTM(nn.RNNBase):
    """A stack of LSTM layers with the constructor, ``state_dict`` and results of ``torch.nn.LSTM``.

    i, f, g, o = split(W_ih x + b_ih + W_hh h + b_hh);  c' = σ(f)·c + σ(i)·tanh(g);  h' = σ(o)·tanh(c')

    Without options, checkpoints load both ways with ``strict=True``. On the CPU in float32 native kernels train it, and
    run what torch has no kernel for: most variants, projections, and ``lengths``, which cost what their steps cost. For
    the plain layer, ``coupled``, ``weight_drop`` and the input mask of ``variational_dropout`` torch's fused kernel
    does what is small or needs no gradient. Elsewhere torch does everything, step by step where it must.
    :class:`carrousel.layers.backend` chooses. In ``eval()`` no mask is drawn,
    and zoneout uses its expectation. The masks of one training forward are drawn in that call: chunks of a sequence
    given one after the other get masks of their own.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype :
        as in ``torch.nn.LSTM``
    **options : keyword-only, see :class:`carrousel.layers.variant.Variant`

    Parameters of the module, beyond those of torch (suffix ``_l{k}``, ``_l{k}_reverse``):
    ``weight_ch`` (3·H,), order i, f, o; (2·H,), i, o if coupled — ``peephole``;
    ``gain_ih``, ``gain_hh`` (4·H,), ``gain_c`` (H,), ``bias_c`` (H,) with bias — ``layer_norm``;
    ``h_0`` (num_layers·D, H_out), ``c_0`` (num_layers·D, H) — ``trainable_state``.
    With ``coupled``, ``weight_ih`` .. ``bias_hh`` have 3·H rows: i, g, o.

    Raises
    ------
    SettingError : a setting of the wrong type, outside its range, unknown, or at odds with another one

    References
    ----------
    Hochreiter & Schmidhuber 1997 (§4); forget gate: Gers, Schmidhuber & Cummins 2000. Variants: docs/cell.md.

    Examples
    --------
    >>> layer = LSTM(3, 8, peephole=True)
    >>> y, state = layer(torch.zeros(5, 2, 3), lengths=[5, 3])
    >>> y.shape, state.h.shape
    (torch.Size([5, 2, 8]), torch.Size([1, 2, 8]))
    """

    weight_ih_l0: Tensor
    h_0: Tensor
    c_0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[VariantOptions],
    ) -> None:
        unknown = set(options) - {field.name for field in fields(Variant)}
        if unknown:
            known = ", ".join(field.name for field in fields(Variant))
            raise SettingError(
                f"LSTM: expected options among {known}, got {', '.join(sorted(unknown))}; check the name"
            )
        variant = Variant(**options)
        check_settings(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            variant.forget_bias,
        )
        # Not nn.LSTM, whose instances torch.compile refuses whatever their forward is.
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip
        self.variant = variant
        self.suffixes = [
            [f"_l{layer}{direction}" for direction in ("", "_reverse")[: 1 + bidirectional]]
            for layer in range(num_layers)
        ]
        self._add_parameters()
        self.kinds = [kind for kind in Weights._fields if hasattr(self, kind + "_l0")]
        self.reset_parameters()

    def _add_parameters(self) -> None:
        """Register what torch.nn.LSTM does not have, and leave the rows of f out where i and f are coupled."""
        like = self.weight_ih_l0
        H, runs = self.hidden_size, sum(map(len, self.suffixes))
        G = len(self.variant.gates)
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix in (suffix for layer in self.suffixes for suffix in layer):
            if self.variant.coupled:
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]:
                    shapes[kind + suffix] = (G * H, *getattr(self, kind + suffix).shape[1:])
            if self.variant.peephole:
                shapes["weight_ch" + suffix] = ((G - 1) * H,)
            if self.variant.layer_norm:
                shapes |= {"gain_ih" + suffix: (G * H,), "gain_hh" + suffix: (G * H,), "gain_c" + suffix: (H,)}
                if self.bias:
                    shapes["bias_c" + suffix] = (H,)
        if self.variant.trainable_state:
            shapes |= {"h_0": (runs, self.proj_size or H), "c_0": (runs, H)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(like.new_empty(shape)))
        self._init_flat_weights()

    def reset_parameters(self) -> None:
        # torch.nn.LSTM's constructor calls this before the variant's parameters exist; ours calls it again.
        if "variant" in self.__dict__:
            initialise(dict(self.named_parameters()), self.hidden_size, self.variant)

    def flatten_parameters(self) -> None:
        # cuDNN's one buffer of weights has four gates.
        if "variant" in self.__dict__ and not self.variant.coupled:
            super().flatten_parameters()

    def config(self) -> dict[str, Any]:
        """Every setting but device and dtype, in types that JSON has; ``LSTM(**config)`` is this architecture again."""
        names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
        settings = {name: getattr(self, name) for name in (*names, "proj_size")}
        options = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.variant).items()}
        return settings | options

    def extra_repr(self) -> str:
        changed = {f.name: getattr(self.variant, f.name) for f in fields(Variant)}
        changed = {name: v for name, v in changed.items() if v != getattr(Variant(), name)}
        return ", ".join([super().extra_repr(), *(f"{name}={value!r}" for name, value in changed.items())])

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, LSTMState]:
        """Run the stack over a batch of sequences, or over the next chunk of them.

        Parameters
        ----------
        x : (L, N, H_in); (N, L, H_in) if batch_first; (L, H_in) unbatched. L = 1 is one streaming step
        state : (h_0, c_0), (num_layers·D, N, H_out) and (num_layers·D, N, H), without N if unbatched; None: the
            trainable initial state if there is one, else zeros
        lengths : valid steps of each row, integers in [0, L], (N,). What x holds beyond a length is not looked at

        Returns
        -------
        (output, LSTMState(h_n, c_n)) : output (L, N, D·H_out) in the order of x's axes, zeros beyond a length; the
            state after each row's last valid step, unchanged where a length is 0. The reverse direction starts at
            each row's last valid step

        Raises
        ------
        ShapeError : shape or dtype of x, state or lengths does not fit
        """
        self._check_input(x)
        unbatched = x.dim() == 2
        x_LNE = x[:, None] if unbatched else x.transpose(0, 1) if self.batch_first else x
        L, N, _ = x_LNE.shape
        steps = None if lengths is None else self._check_lengths(lengths, unbatched, L, N, x.device)
        if state is None:
            state = self.initial_state(None if unbatched else N)
        self._check_state(state, x, None if unbatched else N)
        if L == 0 or N == 0:
            width = len(self.suffixes[0]) * (self.proj_size or self.hidden_size)
            return x.new_zeros(*x.shape[:-1], width), LSTMState(*state)
        h, c = (s[:, None] if unbatched else s for s in state)
        native = self._is_native(x, steps)
        if not native and steps is None and self.variant.is_plain(self.training):
            y, h_n, c_n = self._run_plain(x_LNE, h, c)
        else:
            y, h_n, c_n = self._run(x_LNE, h, c, steps, native)
        if unbatched:
            return y[:, 0], LSTMState(h_n[:, 0], c_n[:, 0])
        return y.transpose(0, 1) if self.batch_first else y, LSTMState(h_n, c_n)

    def initial_state(self, rows: int | None = None) -> LSTMState:
        """The state that ``state=None`` stands for, for so many rows; None: unbatched."""
        runs, H = sum(map(len, self.suffixes)), self.hidden_size
        batch = () if rows is None else (rows,)
        if self.variant.trainable_state:
            h, c = (s if rows is None else s[:, None].expand(-1, rows, -1) for s in (self.h_0, self.c_0))
            return LSTMState(h.contiguous(), c.contiguous())
        zeros = self.weight_ih_l0.new_zeros
        return LSTMState(zeros(runs, *batch, self.proj_size or H), zeros(runs, *batch, H))

    def _is_native(self, x: Tensor, lengths: Tensor | None) -> bool:
        wanted = preference().name
        if wanted == "torch":
            return False
        why = missing(x, self.weight_ih_l0)
        if wanted == "native":
            if why:
                raise SettingError(f'LSTM: backend("native"): {why}; or choose backend("auto")')
            return True
        # For everything else torch has a kernel of its own. It is slower to train with, but called in half the time,
        # and cannot be compiled.
        faster = lengths is not None or self.proj_size > 0 or self.variant.needs_steps(self.training)
        faster = faster or torch.compiler.is_compiling() or self._is_worth_a_call(x)
        return not why and faster and self.weight_ih_l0.dtype == torch.float32

    def _is_worth_a_call(self, x: Tensor) -> bool:
        H = self.hidden_size
        return torch.is_grad_enabled() and x.numel() // x.shape[-1] * H * (x.shape[-1] + H) >= CALL and vectorised()

    def _run_plain(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The whole stack as torch.nn.LSTM runs it."""
        self._update_flat_weights()
        weights = [weight for weight in self._flat_weights if weight is not None]
        return torch_lstm(
            x, (h, c), weights, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional, False
        )

    def _run(
        self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None, native: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Layer by layer, direction by direction; x (L, N, E)."""
        L, half = len(x), native and torch.is_autocast_enabled("cpu") and self.weight_ih_l0.dtype == torch.float32
        ragged = Ragged.of(L, lengths) if native and lengths is not None else None
        padded = None
        if lengths is not None and not native:  # which neither reads nor writes padding
            padded = (torch.arange(L, device=x.device)[:, None] >= lengths)[:, :, None]
        h_n: list[Tensor] = []
        c_n: list[Tensor] = []
        for k, layer in enumerate(self.suffixes):
            if k > 0:
                x = dropout(x, self.dropout, self.training)
            if padded is not None:
                x = x.masked_fill(padded, 0.0)  # padding may hold NaN, and 0 · NaN is NaN in the backward
            outputs: list[Tensor] = []
            for suffix in layer:
                w = Weights(**{name: getattr(self, name + suffix) for name in self.kinds})
                masks = draw(self.variant, self.training, x, w.weight_hh, self.hidden_size)
                seen = x if masks.x is None else x * masks.x
                if masks.w is not None:
                    w = w._replace(weight_hh=w.weight_hh * masks.w)
                reverse, run = suffix.endswith("_reverse"), len(h_n)
                if native:
                    y, h_last, c_last = scan(
                        seen, h[run], c[run], w, masks, ragged, reverse, half, preference().recompute
                    )
                else:
                    function = stepwise if self.variant.needs_steps(self.training) else fused
                    y, h_last, c_last = directed(function, seen, h[run], c[run], w, lengths, masks, reverse)
                outputs.append(y)
                h_n.append(h_last)
                c_n.append(c_last)
            x = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
        y = x if padded is None else x.masked_fill(padded, 0.0)
        # Under autocast torch.nn.LSTM returns all three in the lower precision.
        real = torch.bfloat16 if half else y.dtype
        h, c = (part[0][None] if len(part) == 1 else torch.stack(part) for part in (h_n, c_n))
        return y.to(real), h.to(real), c.to(real)

    def _check_input(self, x: object) -> None:
        letters = "N, L" if self.batch_first else "L, N"
        if not isinstance(x, Tensor):
            raise ShapeError(
                f"LSTM: x: expected a tensor ({letters}, {self.input_size}), got {type(x).__name__}; "
                "give ragged batches as one padded tensor with lengths=..."
            )
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"LSTM: x: expected ({letters}, {self.input_size}) or (L, {self.input_size}), got {tuple(x.shape)}; "
                f"the layer was made with input_size={self.input_size}"
            )
        self._check_dtype("x", x)

    def _check_dtype(self, name: str, given: Tensor) -> None:
        expected = self.weight_ih_l0.dtype
        if given.dtype != expected and not torch.is_autocast_enabled(given.device.type):
            raise ShapeError(
                f"LSTM: {name}: expected dtype {expected}, got {given.dtype}; convert it with .to({expected})"
            )

    def _check_state(self, state: object, x: Tensor, rows: int | None) -> None:
        runs, batch = sum(map(len, self.suffixes)), () if rows is None else (rows,)
        if not isinstance(state, tuple) or len(state) != 2:
            raise ShapeError(
                f"LSTM: state: expected the tuple (h_0, c_0), got {type(state).__name__}; pass the two tensors"
            )
        widths = (self.proj_size or self.hidden_size, self.hidden_size)
        for name, given, width in zip(("h_0", "c_0"), state, widths, strict=True):
            expected = (runs, *batch, width)
            if tuple(given.shape) != expected:
                raise ShapeError(
                    f"LSTM: {name}: expected {expected}, got {tuple(given.shape)}; "
                    f"x has shape {tuple(x.shape)} with batch_first={self.batch_first}"
                )
            self._check_dtype(name, given)

    def _check_lengths(
        self, lengths: Tensor | Sequence[int], unbatched: bool, L: int, N: int, device: torch.device
    ) -> Tensor:
        if unbatched:
            raise ShapeError("LSTM: lengths: expected None for unbatched x, got lengths; cut x to its length instead")
        steps = torch.as_tensor(lengths)
        if tuple(steps.shape) != (N,) or (N > 0 and (steps.is_floating_point() or steps.dtype == torch.bool)):
            raise ShapeError(
                f"LSTM: lengths: expected {N} integers, got {steps.dtype} {tuple(steps.shape)}; one length per row of x"
            )
        outside = [n for n in steps.tolist() if not 0 <= n <= L]
        if outside:
            raise ShapeError(f"LSTM: lengths: expected values in [0, {L}], got {outside[0]}; x has {L} steps")
        return steps.to(device=device, dtype=torch.int64)
