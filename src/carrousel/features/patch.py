"""The forecasting network's sizes, and its layers as plain data: what training builds and what the engine runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear
from carrousel.config import Range, check
from carrousel.errors import SettingError

Size = Annotated[int, Range(1)]
Count = Annotated[int, Range(0)]


@dataclass(frozen=True, kw_only=True)
class PatchSizes:
    """Sizes of a patch network.

    Parameters
    ----------
    look_back, horizon, patch : L, H and W in time steps; L is a multiple of W
    targets, past, future, calendar, static : K, P, F, C, Q columns
    series : series with an embedding of their own; row 0 beside them stands for any other series
    quantiles : how many
    maps : E, linear maps that the linear path mixes
    hidden_size, num_layers : of the LSTM
    members : networks of the ensemble, each trained from its own seed
    """

    look_back: Size
    horizon: Size
    patch: Size
    targets: Size
    past: Count
    future: Count
    calendar: Count
    static: Count
    series: Size
    quantiles: Size
    maps: Size
    hidden_size: Size
    num_layers: Size
    members: Size

    def __post_init__(self) -> None:
        check(self, where="sizes")
        if self.look_back % self.patch:
            raise SettingError(
                f"look_back: expected a multiple of patch={self.patch}, got {self.look_back}; "
                f"{max(1, round(self.look_back / self.patch)) * self.patch} is the nearest one"
            )

    @property
    def behind(self) -> int:
        """n: patches of the look-back."""
        return self.look_back // self.patch

    @property
    def ahead(self) -> int:
        """M: patches that cover the horizon."""
        return -(-self.horizon // self.patch)

    @property
    def past_width(self) -> int:
        """Values that one patch of the look-back brings."""
        return self.patch * (self.targets + self.past) + self.calendar

    @property
    def future_width(self) -> int:
        """Values known ahead of one patch of the horizon."""
        return self.patch * self.future + self.calendar + self.static

    @property
    def head_width(self) -> int:
        """Outputs of one patch of the horizon."""
        return self.patch * self.targets * self.quantiles

    def architecture(self) -> Architecture:
        """The linear path; every member's ``past_0``, ``lstm_0``, ... with its routes ``encode_0``, ``decode_0``."""
        layers: list[Layer] = [
            Linear(name="maps", input_size=self.look_back, output_size=self.maps * self.horizon, bias=False),
            Embedding(name="mixture", num_embeddings=self.series + 1, embedding_dim=self.targets * self.maps),
        ]
        stacks: dict[str, tuple[str, ...]] = {}
        d = self.hidden_size
        for m in range(self.members):
            layers += [
                Linear(name=f"past_{m}", input_size=self.past_width, output_size=d, activation="relu"),
                LSTM(name=f"lstm_{m}", input_size=d, hidden_size=d, num_layers=self.num_layers),
                Embedding(name=f"position_{m}", num_embeddings=self.ahead, embedding_dim=d),
                Embedding(name=f"series_{m}", num_embeddings=self.series + 1, embedding_dim=d),
                Linear(name=f"head_{m}", input_size=d, output_size=self.head_width),
            ]
            stacks |= {f"encode_{m}": (f"past_{m}", f"lstm_{m}"), f"decode_{m}": (f"lstm_{m}", f"head_{m}")}
            if self.future_width:
                layers.append(Linear(name=f"future_{m}", input_size=self.future_width, output_size=d, bias=False))
            if self.future:
                layers.append(Linear(name=f"effect_{m}", input_size=self.future, output_size=self.targets, bias=False))
        return Architecture(layers=tuple(layers), stacks=stacks)
