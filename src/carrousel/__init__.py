"""LSTM-family sequence models on modest data: train, forecast with honest intervals, stream without a framework."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrousel.errors import ArtifactError, CarrouselError

if TYPE_CHECKING:
    from carrousel.engine import Engine, Session
    from carrousel.tasks.forecast import Forecaster

__version__ = "0.1.0"
__all__ = ["CarrouselError", "Engine", "Forecaster", "Session", "__version__", "load"]

# Imported when first asked for: `import carrousel` stays light.
_HOMES = {
    "Forecaster": "carrousel.tasks.forecast",
    "Engine": "carrousel.engine",
    "Session": "carrousel.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'carrousel' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def load(path: str | Path) -> Forecaster:
    """Read a saved model, of whatever task, without PyTorch.

    Parameters
    ----------
    path : the folder that ``save`` or ``carrousel train`` wrote

    Raises
    ------
    ArtifactError : what is missing or wrong, and where
    """
    from carrousel.artifact import read
    from carrousel.tasks.forecast import Forecaster

    artifact = read(Path(path))
    if artifact.task != "forecast":
        raise ArtifactError(f"{path}: expected a model for the task 'forecast', got {artifact.task!r}")
    return Forecaster.from_artifact(artifact)
