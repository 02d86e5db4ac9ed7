"""What a forecaster can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from carrousel.config import Range, check
from carrousel.errors import SettingError
from carrousel.features.transform import Kind

Percent = Annotated[float, Range(above=0, below=100)]
Size = Annotated[int, Range(1)]


@dataclass(frozen=True, kw_only=True)
class ForecastSettings:
    """What a forecaster can be told; everything but the horizon has a default that works on a laptop.

    Parameters
    ----------
    horizon : rows to forecast
    target, past, future, static : columns; covariates known up to now, known ahead, and constant per series
    id, time : columns of the series' names and of the time stamps
    frequency : such as "h", "30min", "D", "MS"; inferred from the stamps by default
    season : seasonal period in rows; by default that of the frequency
    transform : "identity" or "log" of the target; by default the better one on the validation part
    joint : forecast all targets of a wide table together, each seeing the others, instead of one by one
    levels : central bands, in per cent
    look_back : rows that a forecast sees; by default chosen on the validation part
    patch : rows an LSTM step reads at once; by default the season, or its longest divisor up to 48
    hidden_size, num_layers, dropout : of the LSTM
    ensemble : networks trained from different seeds, whose quantiles are averaged
    max_steps, batch_size, learning_rate, weight_decay, patience : of the training
    minutes : time budget of the training, all members together; it ends earlier when the validation stops improving
    seed : the same seed gives the same model on the same machine
    """

    horizon: Size
    target: tuple[str, ...] | None = None
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    frequency: str | None = None
    season: Size | None = None
    transform: Kind | None = None
    joint: bool = False
    levels: tuple[Percent, ...] = (50.0, 90.0)
    look_back: Size | None = None
    patch: Size | None = None
    hidden_size: Size = 64
    num_layers: Size = 1
    dropout: Annotated[float, Range(0, below=1)] = 0.3
    ensemble: Size = 1
    max_steps: Size = 600
    batch_size: Size = 256
    learning_rate: Annotated[float, Range(above=0)] = 1e-3
    weight_decay: Annotated[float, Range(0)] = 0.0
    patience: Size = 5
    minutes: Annotated[float, Range(above=0)] | None = None
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check(self, where="Forecaster")
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise SettingError(f"levels: expected different percentages such as (50, 90), got {self.levels}")
