"""What a recurrent network remembers, as a cache that transformers' ``generate`` accepts: h and c of every layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from carrousel.errors import SettingError, ShapeError
from carrousel.layers.state import LSTMState


class CarrouselCache(Cache):
    """The state behind the tokens that were read, of every row of a batch. Its size does not depend on how many.

    A forward changes it in place. Rows can be reordered, repeated and selected, as beam search does; what was read
    cannot be unread, so it refuses ``crop``: keep a ``clone`` of the state to come back to.

    Parameters
    ----------
    state : h (num_layers, N, H) and c (num_layers, N, H); None: nothing was read
    length : tokens that were read, padding included
    """

    def __init__(self, state: LSTMState | None = None, length: int = 0) -> None:
        super().__init__(layers=[])
        self.state = state
        self.length = length

    def advance(self, state: LSTMState, steps: int) -> None:
        """Put the state behind so many further tokens."""
        self.state = state
        self.length += steps

    def of_rows(self, rows: int) -> LSTMState | None:
        """The state, if it is that of so many rows.

        Raises
        ------
        ShapeError : it has others
        """
        if self.state is not None and self.batch_size != rows:
            raise ShapeError(
                f"cache: expected the state of {rows} rows as the input has, got {self.batch_size}; beams and several "
                "sequences of one prompt need cache.batch_repeat_interleave(their number) before"
            )
        return self.state

    def clone(self) -> CarrouselCache:
        """A copy that shares no memory, so that one text can go on in two ways."""
        return CarrouselCache(None if self.state is None else self.state.clone(), self.length)

    def detach(self) -> CarrouselCache:
        """The same values, cut off from the graph that made them."""
        return CarrouselCache(None if self.state is None else self.state.detach(), self.length)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Give every row the state of another one."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows, in the order asked for."""
        if self.state is not None:
            self.state = self.state.select(indices.to(self.state.h.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row so many times."""
        if self.state is not None:
            self.batch_select_indices(torch.arange(self.batch_size).repeat_interleave(repeats))

    def crop(self, *_: Any, **__: Any) -> None:
        """Refused: a state does not know the ones before it.

        Raises
        ------
        SettingError
        """
        raise SettingError(
            "CarrouselCache.crop: expected not to be called, since a recurrent state cannot forget its last tokens; "
            "keep a clone() of the cache to come back to, and leave assisted decoding to models that can"
        )

    def reset(self) -> None:
        """Begin again."""
        self.state, self.length = None, 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that were read, padding included."""
        return self.length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """-1: there is no limit."""
        return -1

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """The same, by the name that it had before transformers 5.24."""
        return -1

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Refused: there are no keys and values.

        Raises
        ------
        SettingError
        """
        raise SettingError("CarrouselCache.update: expected not to be called, since an LSTM has no keys and values")

    def has_previous_state(self, layer_idx: int | None = None, state_idx: int | None = None) -> bool:
        """Whether something was read, which is so of all layers at once."""
        return self.is_initialized

    def is_recording_past(self, layer_idx: int = 0) -> bool:
        """False: no state is kept but the last."""
        return False

    @property
    def batch_size(self) -> int:
        """N, or -1 where nothing was read."""
        return -1 if self.state is None else self.state.h.shape[1]

    @property
    def is_compileable(self) -> bool:
        """False: ``generate`` does not compile the network of its own accord."""
        return False

    @property
    def is_croppable(self) -> bool:
        return False

    @property
    def is_initialized(self) -> bool:
        """Whether something was read."""
        return self.state is not None

    @property
    def is_linear(self) -> list[bool]:
        """[False]: it knows how many tokens were read, so ``generate`` reads only those that are new."""
        return [False]

    def __deepcopy__(self, memo: object) -> CarrouselCache:
        return self.clone()

    def __len__(self) -> int:
        return 0 if self.state is None else len(self.state.h)

    def __repr__(self) -> str:
        return f"CarrouselCache(rows={max(self.batch_size, 0)}, length={self.length})"
