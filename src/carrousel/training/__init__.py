"""One training loop for every task: see ``train``."""

from carrousel.training.batch import Batches, OrderedBatches, seeded
from carrousel.training.checkpoint import begun
from carrousel.training.history import History, Row
from carrousel.training.loop import device, train
from carrousel.training.optimizer import layer_groups, parameter_groups
from carrousel.training.progress import Bar, Progress, Report, lines, silent
from carrousel.training.schedule import learning_rate_factor
from carrousel.training.settings import TrainingSettings

__all__ = [
    "Bar",
    "Batches",
    "History",
    "OrderedBatches",
    "Progress",
    "Report",
    "Row",
    "TrainingSettings",
    "begun",
    "device",
    "layer_groups",
    "learning_rate_factor",
    "lines",
    "parameter_groups",
    "seeded",
    "silent",
    "train",
]
