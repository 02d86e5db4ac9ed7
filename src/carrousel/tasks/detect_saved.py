"""A detector's saved form: what its artifact says of the table beside the network, and how that is read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel.artifact import Artifact, read
from carrousel.errors import ConfigError, WeightsError
from carrousel.online.covariate import Scaling

if TYPE_CHECKING:
    from carrousel.tasks.detect import Detector

Arrays = dict[str, npt.NDArray[Any]]

AGAIN = "a detector that another version of Carrousel saved is to be fitted and saved again"
NETWORK = Path(__file__).parent.parent / "online" / "network"
"""The network that Carrousel comes with, trained on artificial series only (``benchmarks/detector_network.py``)."""


@cache
def shipped() -> Artifact:
    """The network that Carrousel comes with."""
    return read(NETWORK)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What the artifact says of the table.

    Parameters
    ----------
    schema : as ``Schema.to_dict`` gives it; None where nothing was fitted
    variables : watched, (K,)
    covariates : read but not watched, (P,)
    mean, scale : of the covariates, (P,)
    ids, ends : series that were fitted on, and their last stamps
    factor : see ``tasks.detect_replay.correction``
    interval_s : seconds from row to row, 0 for integers
    cycle : rows of the cycle, 0 where none is known
    notes : what was inferred and mended
    """

    schema: object
    variables: tuple[str, ...]
    covariates: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    ids: tuple[str, ...]
    ends: tuple[int | str, ...]
    factor: float
    interval_s: float
    cycle: int
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.variables or self.factor <= 0 or self.cycle < 0:
            raise ConfigError(
                "statistics: expected variables, a factor above 0 and a cycle of at least 0; save the detector again"
            )
        if not len(self.covariates) == len(self.mean) == len(self.scale):
            raise ConfigError(
                f"statistics: expected a mean and a scale of each of {len(self.covariates)} covariates, got "
                f"{len(self.mean)} and {len(self.scale)}; save the detector again"
            )

    @property
    def scaling(self) -> Scaling | None:
        """Of the covariates; None where there are none."""
        return Scaling(np.array(self.mean), np.array(self.scale)) if self.covariates else None


def saved_form(detector: Detector, states: Mapping[str, Arrays]) -> tuple[dict[str, Any], Arrays]:
    """Statistics and context of the artifact of a detector, `states` being those of its streams by name."""
    names = list(states)
    context: Arrays = {"seen": np.array([len(names)], np.int64)}
    for key in states[names[0]] if names else ():
        context[f"state.{key}"] = np.stack([states[name][key] for name in names])
    statistics: dict[str, Any] = {
        "schema": None if detector.schema is None else detector.schema.to_dict(),
        "variables": list(detector.variables),
        "covariates": list(detector.covariates),
        "mean": [] if detector.scaling is None else detector.scaling.mean.tolist(),
        "scale": [] if detector.scaling is None else detector.scaling.scale.tolist(),
        "ids": names,
        "ends": [plain(detector.ends[name]) for name in names],
        "factor": detector.factor,
        "interval_s": detector.interval_s,
        "cycle": detector.cycle,
        "notes": detector.notes,
    }
    return statistics, context


def plain(stamp: Any) -> int | str:
    """A stamp for JSON."""
    return str(stamp) if isinstance(stamp, np.datetime64) else int(stamp)


def ends_of(known: Statistics) -> dict[str, Any]:
    """The last stamps of the series that a detector was fitted on."""
    try:
        ends = [np.datetime64(end, "us" if "." in end else "s") if isinstance(end, str) else end for end in known.ends]
        return dict(zip(known.ids, ends, strict=True))
    except ValueError as error:
        raise ConfigError(
            f"statistics: expected a last stamp of each series, got others ({error}); save it again"
        ) from error


def states_of(
    context: Mapping[str, npt.NDArray[Any]], ids: Sequence[str], wanted: Mapping[str, Any]
) -> dict[str, Arrays]:
    """The streams' states by name, held to the form of `wanted`."""
    arrays = {key.removeprefix("state."): array for key, array in context.items() if key.startswith("state.")}
    if not ids:
        return {}
    for name in [*arrays, *wanted]:
        if name not in arrays or name not in wanted:
            raise WeightsError(f"context: state {name!r} is {'missing' if name in wanted else 'unknown'}; {AGAIN}")
        shape = (len(ids), *wanted[name].shape[1:])
        if arrays[name].shape != shape or arrays[name].dtype != wanted[name].dtype:
            raise WeightsError(
                f"context: state {name!r}: expected {wanted[name].dtype} {shape}, "
                f"got {arrays[name].dtype} {arrays[name].shape}; {AGAIN}"
            )
    return {name: {key: array[place] for key, array in arrays.items()} for place, name in enumerate(ids)}
