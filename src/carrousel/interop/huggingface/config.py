"""config.json as transformers has it: sizes, labels and tokens as attributes, and the way from the artifact's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from carrousel.architecture import Architecture
from carrousel.artifact import Config, read_config
from carrousel.config import from_dict, to_dict
from carrousel.errors import ConfigError
from carrousel.features.classify import ClassifySizes
from carrousel.features.language import LanguageSizes

TASKS = {"language": "AutoModelForCausalLM", "classify": "AutoModelForSequenceClassification"}
DROPOUTS = {
    "language": ("dropout", "embedding_dropout", "weight_drop", "recurrent_dropout", "variational_dropout"),
    "classify": ("dropout", "embedding_dropout", "variational_dropout"),
}
OPEN = "open it with carrousel.load"


class CarrouselConfig(PreTrainedConfig):
    """What a network of Carrousel is, for transformers.

    A folder that Carrousel or one of these models saved holds the artifact's config.json, of which this is a view; what
    ``save_pretrained`` of a configuration alone writes is transformers' own form.

    Parameters
    ----------
    task : "language" or "classify"
    vocab_size, embedding_size, hidden_size, num_hidden_layers : V, E, H and layers of the network
    bidirectional, members, calibration_temperature : of a classifier: networks whose logits are averaged, and by what
        they are divided
    dropout, embedding_dropout, weight_drop, recurrent_dropout, variational_dropout : as in the task's settings
    settings, statistics : of the artifact, kept as they are

    Raises
    ------
    SettingError : sizes that no network has
    ConfigError, VersionError : a config.json that is damaged, newer, or of another task
    """

    model_type = "carrousel"
    attribute_map = {"num_layers": "num_hidden_layers"}  # noqa: RUF012 - transformers' own form of it
    keys_to_ignore_at_inference = ["cache", "past_key_values"]  # noqa: RUF012

    def __init__(
        self,
        *,
        task: str = "language",
        vocab_size: int = 256,
        embedding_size: int = 64,
        hidden_size: int = 512,
        num_hidden_layers: int = 1,
        bidirectional: bool = False,
        members: int = 1,
        calibration_temperature: float = 1.0,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        weight_drop: float = 0.0,
        recurrent_dropout: float = 0.0,
        variational_dropout: tuple[float, float] = (0.0, 0.0),
        settings: Mapping[str, Any] | None = None,
        statistics: Mapping[str, Any] | None = None,
        use_cache: bool = True,
        tie_word_embeddings: bool = True,
        bos_token_id: int | None = 0,
        eos_token_id: int | None = 0,
        pad_token_id: int | None = 0,
        **others: Any,
    ) -> None:
        self.task = task
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = others.pop("num_layers", num_hidden_layers)
        self.bidirectional = bidirectional
        self.members = members
        self.calibration_temperature = calibration_temperature
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.weight_drop = weight_drop
        self.recurrent_dropout = recurrent_dropout
        self.variational_dropout = list(variational_dropout)
        self.settings = dict(settings or {})
        self.statistics = dict(statistics or {})
        self.use_cache = use_cache
        self.tie_word_embeddings = tie_word_embeddings
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.pad_token_id = pad_token_id
        super().__init__(**others)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The configuration in transformers' form, or in the artifact's, which is checked whole."""
        if "checksums" in config_dict or "format_version" in config_dict:
            name = kwargs.get("name_or_path") or config_dict.get("_name_or_path")
            config_dict = _from_artifact(config_dict, f"{name}/config.json" if name else "config.json")
        return super().from_dict(config_dict, **kwargs)

    @property
    def language_sizes(self) -> LanguageSizes:
        """Of the language model that this describes."""
        return LanguageSizes(
            vocabulary=self.vocab_size,
            embedding_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_hidden_layers,
        )

    @property
    def classify_sizes(self) -> ClassifySizes:
        """Of the classifier that this describes."""
        return ClassifySizes(
            kind="text",
            inputs=self.vocab_size,
            window=1,
            embedding_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_hidden_layers,
            bidirectional=self.bidirectional,
            classes=self.num_labels or 2,
            steps=False,
            members=self.members,
        )

    @property
    def dropouts(self) -> dict[str, Any]:
        """What is dropped in training, by its names in the task's settings."""
        return {name: getattr(self, name) for name in DROPOUTS[self.task]}

    def saved_settings(self) -> dict[str, Any]:
        """The artifact's settings, with what may have been changed here."""
        return {**self.settings, **self.dropouts}

    def saved_statistics(self) -> dict[str, Any]:
        """The artifact's statistics, with what may have been changed here."""
        found = {**self.statistics, "sizes": to_dict(getattr(self, f"{self.task}_sizes"))}
        if self.task == "classify" and "learned" in found:
            names: Any = self.id2label
            labels = [names[k] for k in range(len(names))]
            found["learned"] = {**found["learned"], "labels": labels, "temperature": self.calibration_temperature}
        return found


def _from_artifact(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Arguments of the configuration from an artifact's config.json."""
    config = read_config({key: value for key, value in data.items() if not key.startswith("_")}, where=where)
    if config.task not in TASKS:
        known = " or ".join(map(repr, TASKS))
        raise ConfigError(
            f"{where}: task: expected {known}, which transformers has classes for, got {config.task!r}; {OPEN}"
        )
    given = (_language if config.task == "language" else _classify)(config, where)
    dropouts = {name: config.settings[name] for name in DROPOUTS[config.task] if name in config.settings}
    return {
        "model_type": config.model_type,
        "architectures": list(config.architectures),
        "task": config.task,
        "settings": config.settings,
        "statistics": config.statistics,
        **dropouts,
        **given,
    }


def _language(config: Config, where: str) -> dict[str, Any]:
    sizes = from_dict(LanguageSizes, config.statistics.get("sizes"), where=f"{where}: statistics.sizes")
    layers = Architecture.from_data(config.architecture, where=f"{where}: architecture").layers
    if layers not in (sizes.architecture().layers, sizes.architecture().layers[:-1]):  # with a head, or without one
        raise ConfigError(f"{where}: architecture: expected the layers of the sizes in statistics, got others; {OPEN}")
    return {
        "vocab_size": sizes.vocabulary,
        "embedding_size": sizes.embedding_size,
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers,
    }


def _classify(config: Config, where: str) -> dict[str, Any]:
    sizes = from_dict(ClassifySizes, config.statistics.get("sizes"), where=f"{where}: statistics.sizes")
    if sizes.kind != "text":
        raise ConfigError(
            f"{where}: statistics.sizes.kind: expected 'text', since transformers' classifiers take tokens, got "
            f"{sizes.kind!r}; {OPEN}"
        )
    if Architecture.from_data(config.architecture, where=f"{where}: architecture") != sizes.architecture():
        raise ConfigError(f"{where}: architecture: expected the layers of the sizes in statistics, got others; {OPEN}")
    learned = config.statistics.get("learned")
    learned = learned if isinstance(learned, Mapping) else {}
    labels = [str(label) for label in learned.get("labels", [f"LABEL_{k}" for k in range(sizes.classes)])]
    return {
        "vocab_size": sizes.inputs,
        "embedding_size": sizes.embedding_size,
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers,
        "bidirectional": sizes.bidirectional,
        "members": sizes.members,
        "calibration_temperature": learned.get("temperature", 1.0),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: k for k, label in enumerate(labels)},
        "problem_type": "single_label_classification",
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
    }
