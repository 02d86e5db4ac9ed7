"""The compiled engine (native/bindings.cpp); arguments are as ``native.py`` brings them into form."""

from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.errors import SettingError

Floats = npt.NDArray[np.float32]

class Error(SettingError): ...

class Model:
    @property
    def isa(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...

class Session:
    context: Any
    @property
    def batch(self) -> int: ...
    def step(self, x: Any, out: Any = None, *, stack: str | None = None) -> Floats: ...
    def step_checked(self, stack: int, x: npt.NDArray[Any], out: Floats, /) -> None: ...
    def run_checked(
        self,
        stack: int,
        x: npt.NDArray[Any],
        steps: int,
        lengths: npt.NDArray[np.int64] | None,
        out: Floats,
        traces: dict[int, list[Floats]] | None,
        /,
    ) -> None: ...
    def state(self) -> dict[str, Floats]: ...
    def reset(self, rows: npt.NDArray[np.int64] | None) -> None: ...
    def fork(self, rows: npt.NDArray[np.int64], /) -> Session: ...
    def resized(self, batch: int, /) -> Session: ...

class Watch:
    def step(
        self, values: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64], /
    ) -> tuple[npt.NDArray[Any], ...] | None: ...

class Sha256:
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...

def model(architecture: str, weights: dict[str, Floats], dtype: str, isa: str) -> Model: ...
def session(model: Model, batch: int, threads: int, /) -> Session: ...
def watch(
    session: Session, variables: int, numbers: dict[str, tuple[float, ...]], arrays: dict[str, npt.NDArray[Any]], /
) -> Watch: ...
def watch_functions(isa: str, x: npt.NDArray[np.float64], out: npt.NDArray[np.float64], /) -> None: ...
def set_slow_step(function: Any, /) -> None: ...
def give_back_memory() -> None: ...
def instruction_sets() -> list[tuple[str, bool, str, int]]: ...
def choose_isa(name: str, /) -> str: ...
def cache_sizes() -> tuple[int, int, int]: ...
def activations(isa: str, x: Floats, sigmoid: Floats, tanh: Floats, /) -> None: ...
def read(isa: str, x: Floats, /) -> float: ...
def multiply(isa: str, rounds: int, /) -> int: ...
def train_drive(
    isa: str,
    real: str,
    sizes: tuple[int, int, int, int, int, int, int],
    pointers: dict[str, int],
    keep: tuple[float, float],
    reverse: bool,
    threads: int,
    /,
) -> None: ...
def train_forward(
    isa: str,
    real: str,
    sizes: tuple[int, int, int, int, int, int, int],
    pointers: dict[str, int],
    keep: tuple[float, float],
    reverse: bool,
    threads: int,
    /,
) -> None: ...
def train_backward(
    isa: str,
    real: str,
    sizes: tuple[int, int, int, int, int, int, int],
    pointers: dict[str, int],
    keep: tuple[float, float],
    reverse: bool,
    threads: int,
    /,
) -> None: ...
def train_gradients(
    isa: str,
    real: str,
    sizes: tuple[int, int, int, int, int, int, int],
    pointers: dict[str, int],
    keep: tuple[float, float],
    reverse: bool,
    threads: int,
    /,
) -> None: ...
