"""Every error that Carrousel raises on purpose, drawn once.

CarrouselError
├── DataError            the table: a column, a time stamp, a value
│   ├── ColumnError      a column is missing, misnamed or of the wrong type
│   ├── TimeError        time stamps that cannot be read, ordered or put on one grid
│   └── HistoryError     too few rows for what was asked
├── ShapeError           an array whose shape or dtype does not fit the layer or session it is given to
├── SettingError         a setting outside its range, unknown, or at odds with another one
├── ArtifactError        a saved model that cannot be read or written
│   ├── ConfigError      config.json: missing, unknown or invalid keys
│   ├── WeightsError     model.safetensors: missing, unknown, misshapen, truncated or not finite
│   └── VersionError     written by a newer version than this one
├── NotTrainedError      predict, save or stream before fit
├── DivergedError        the loss or the gradient stopped being a finite number while training
├── MissingExtraError    a feature whose optional packages are not installed
└── DownloadError        a public data set that could not be fetched or whose checksum differs

A message says where, what was expected, what was got and what to do, in one sentence:
``weight_hh_l0: expected (512, 128), got (256, 64); the artifact was trained with hidden_size=64``.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class CarrouselError(Exception):
    """Root of the tree: catching it catches every error that the user can mend."""


class DataError(CarrouselError):
    """The table cannot be used as it is."""


class ColumnError(DataError):
    """A column is missing, misnamed or of the wrong type."""


class TimeError(DataError):
    """Time stamps that cannot be read, ordered or put on one regular grid."""


class HistoryError(DataError):
    """Too few rows for the horizon, the look-back or the number of windows asked for."""


class ShapeError(CarrouselError, ValueError):
    """An array whose shape or dtype does not fit the layer or session it is given to."""


class SettingError(CarrouselError, ValueError):
    """A setting outside its range, unknown, or at odds with another one."""


class ArtifactError(CarrouselError):
    """A saved model that cannot be read or written."""


class ConfigError(ArtifactError):
    """config.json: not JSON, or with missing, unknown or invalid keys."""


class WeightsError(ArtifactError):
    """A .safetensors file: truncated, or with missing, unknown, misshapen or non-finite tensors."""


class VersionError(ArtifactError):
    """The artifact was written by a newer version of Carrousel than this one."""


class NotTrainedError(CarrouselError):
    """predict, save or stream was called before fit."""


class DivergedError(CarrouselError):
    """The training loss, the gradient or the validation loss is no longer a finite number."""


class MissingExtraError(CarrouselError, ImportError):
    """A feature whose optional packages are not installed."""


class DownloadError(CarrouselError):
    """A public data set could not be fetched, or what came does not have its checksum."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Raises
    ------
    MissingExtraError : the package is not installed
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{purpose} needs the package {package!r}, which is not installed; pip install 'carrousel[{extra}]'"
        ) from error
