"""LSTM-family sequence models on modest data: train, forecast with honest intervals, stream without a framework."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrousel.errors import ArtifactError, CarrouselError

if TYPE_CHECKING:
    from carrousel.engine import Dtype, Engine
    from carrousel.session import Session
    from carrousel.tasks.classify import Classifier
    from carrousel.tasks.detect import Detector
    from carrousel.tasks.forecast import Forecaster
    from carrousel.tasks.language import LanguageModel

__version__ = "0.1.0"
__all__ = [
    "CarrouselError",
    "Classifier",
    "Detector",
    "Engine",
    "Forecaster",
    "LanguageModel",
    "Session",
    "__version__",
    "load",
]

# The class of each task, in ``tasks/<task>.py``; the name of a task is what an artifact says of itself.
_TASKS = {"forecast": "Forecaster", "detect": "Detector", "language": "LanguageModel", "classify": "Classifier"}

# Imported when first asked for: `import carrousel` stays light.
_HOMES = {
    **{name: f"carrousel.tasks.{task}" for task, name in _TASKS.items()},
    "Engine": "carrousel.engine",
    "Session": "carrousel.session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'carrousel' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def load(path: str | Path, *, dtype: Dtype = "float32") -> Any:
    """Read a saved model, of whatever task, without PyTorch.

    Parameters
    ----------
    path : the folder that ``save`` or ``carrousel train`` wrote
    dtype : what the engine stores the weights of products as: "float32", "bfloat16" or "int8", a half and a quarter of
        the bytes, which is what the time of a stream's step depends on; see ``Engine``. ``evaluate`` says what it costs

    Returns
    -------
    the model: Forecaster, Detector, LanguageModel, ..., by its task

    Raises
    ------
    ArtifactError : what is missing or wrong, and where
    SettingError : an unknown dtype, or another than float32 for a detector
    """
    from carrousel.artifact import read

    artifact = read(Path(path))
    if artifact.task not in _TASKS:
        raise ArtifactError(f"{path}: expected a model for {' or '.join(map(repr, _TASKS))}, got {artifact.task!r}")
    return __getattr__(_TASKS[artifact.task]).from_artifact(artifact, dtype=dtype)
