"""A model's folder, which Carrousel and transformers both read: opened after every check, saved with its card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Container, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file

from carrousel.architecture import Architecture
from carrousel.artifact import CARD, CONFIG, CONTEXT, EXTRAS, WEIGHTS, Artifact, contents, parse_json, read
from carrousel.digest import sha256
from carrousel.errors import ArtifactError, ConfigError, SettingError
from carrousel.interop.huggingface.config import TASKS, CarrouselConfig

GENERATION = "generation_config.json"
OPTIONAL = (CONTEXT, CARD, *EXTRAS)
SILENT = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")}
WHERE_FROM = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")
CHANGED = "> The weights were changed with transformers after the numbers below were measured."


@dataclass(frozen=True, eq=False)
class Origin:
    """What a model was opened from, so that saving it writes all of it again.

    Parameters
    ----------
    artifact : without its weights
    digest : SHA-256 of its model.safetensors
    """

    artifact: Artifact
    digest: str


class ArtifactModel(PreTrainedModel):
    """``from_pretrained`` and ``save_pretrained`` over the folder of an artifact."""

    config_class = CarrouselConfig
    config: CarrouselConfig
    base_model_prefix = ""  # heads stand beside the body, so that names are those on disk
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    task: str
    origin: Origin | None = None

    def __init__(self, config: CarrouselConfig, *inputs: Any, **kwargs: Any) -> None:
        if config.task != self.task:
            raise ConfigError(
                f"{config.name_or_path or type(self).__name__}: task: expected {self.task!r}, got {config.task!r}; "
                f"open it with {TASKS.get(config.task, 'carrousel.load')}"
            )
        super().__init__(config, *inputs, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *inputs: Any, **kwargs: Any) -> Any:
        """Open a folder that Carrousel or transformers saved, or a model of the Hub; arguments as in transformers.

        Raises
        ------
        ArtifactError : a file that is missing, damaged, newer, or of another task
        """
        origin, generation = None, False
        if pretrained_model_name_or_path is not None:
            with _files(pretrained_model_name_or_path, kwargs) as folder:
                if folder is not None:
                    origin, generation = _open(folder), (folder / GENERATION).exists()
        told = kwargs.pop("output_loading_info", False)
        opened: Any = super().from_pretrained(
            pretrained_model_name_or_path, *inputs, output_loading_info=True, **kwargs
        )
        model, info = opened
        model.origin = origin
        model.after_loading({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
        if origin is not None and model.can_generate() and not generation and kwargs.get("generation_config") is None:
            model.generation_config = model.default_generation()
        return opened if told else model

    def after_loading(self, fresh: Container[str]) -> None:
        """Called once parameters have what is on disk, but for those of these names, which are fresh."""

    def network(self) -> Architecture:
        """The layers that this model is, by the names of its tensors."""
        raise NotImplementedError

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write the model into a folder, as an artifact: float32, in one file.

        A model that was opened from an artifact keeps its tokenizer, its context and its card, and ``carrousel.load``
        opens it again. Further arguments are those of ``push_to_hub``; how large a file may be is not looked at.

        Raises
        ------
        SettingError : a variant, or a quantized model
        WeightsError : weights that are not finite
        """
        if getattr(self, "_hf_peft_config_loaded", False):  # only the adapter, which is not an artifact's business
            super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, **kwargs)  # pyright: ignore[reportArgumentType]
            return
        if kwargs.pop("variant", None) is not None:
            raise SettingError("save_pretrained: variant: expected None, got one; an artifact has one file of weights")
        if getattr(self, "hf_quantizer", None) is not None:
            raise SettingError("save_pretrained: expected weights as they were trained, got quantized ones")
        if not is_main_process:
            return
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.architectures = [type(self).__name__]
        for name, data in self._contents(self.state_dict() if state_dict is None else state_dict).items():
            _write(folder / name, data)
        if self.can_generate():
            self.generation_config.save_pretrained(folder)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)

    def push_to_hub(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload model",
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        **_: Any,
    ) -> str:
        """Upload the model to the Hugging Face Hub with its own card; arguments as transformers has them.

        Returns
        -------
        address of the commit
        """
        api = HfApi(token=token)
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return str(
                api.upload_folder(
                    repo_id=name,
                    folder_path=folder,
                    commit_message=commit_message,
                    commit_description=commit_description,
                    revision=revision,
                    create_pr=create_pr,
                )
            )

    def _contents(self, state: Mapping[str, Tensor]) -> dict[str, bytes]:
        """The artifact's files."""
        weights = {name: tensor.detach().to("cpu", torch.float32).numpy() for name, tensor in state.items()}
        if "embedding.weight" in weights and self.config.tie_word_embeddings and "head.bias" in weights:
            weights.setdefault("head.weight", weights["embedding.weight"])
        artifact = Artifact(
            task=self.config.task,
            architecture=self.network(),
            weights=weights,
            settings=self.config.saved_settings(),
            statistics=self.config.saved_statistics(),
            model_class=type(self).__name__,
        )
        if self.origin is not None:
            old = self.origin.artifact
            artifact = replace(artifact, context=old.context, card=old.card, extras=old.extras)
        files = contents(artifact)
        if self.origin is not None and sha256(files[WEIGHTS]) != self.origin.digest:
            files[CARD] = _changed(artifact.card).encode()
        return files if files[CARD] else {name: data for name, data in files.items() if name != CARD}


def _open(folder: Path) -> Origin | None:
    """What must be kept of an artifact, checked whole; None where config.json is transformers' own."""
    data = parse_json((folder / CONFIG).read_bytes(), where=str(folder / CONFIG))
    if not isinstance(data, dict) or ("checksums" not in data and "format_version" not in data):
        return None
    artifact = read(folder)
    return Origin(replace(artifact, weights={}), data["checksums"][WEIGHTS])


@contextmanager
def _files(name: str | os.PathLike[str], kwargs: Mapping[str, Any]) -> Generator[Path | None]:
    """The folder of a model's files, copies of those of the Hub, whose cache holds links.

    None where there is no config.json, or the Hub is out of reach: transformers will say so.
    """
    inner = kwargs.get("subfolder", "")
    folder = Path(name) / inner
    if Path(name).is_dir():
        yield folder if (folder / CONFIG).is_file() else None
        return
    where = {key: kwargs[key] for key in WHERE_FROM if key in kwargs} | {"subfolder": inner} | SILENT
    with tempfile.TemporaryDirectory() as place:
        copies = Path(place)
        for file in (CONFIG, WEIGHTS, GENERATION, *OPTIONAL):
            found = cached_file(name, file, **where)
            if found is not None:
                shutil.copyfile(found, copies / file)
        yield copies if (copies / CONFIG).is_file() else None


def _write(file: Path, data: bytes) -> None:
    """A file that is there whole or as it was before."""
    fresh = file.with_name(f".{file.name}.tmp")
    try:
        fresh.write_bytes(data)
        os.replace(fresh, file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ArtifactError(f"{file}: could not be written ({error.strerror})") from error


def _changed(card: str) -> str:
    """The card of a model whose weights are no longer those that its numbers were measured on."""
    if not card or CHANGED in card:
        return card
    head, title, rest = card.partition("\n# ")
    if not title:
        return f"{CHANGED}\n\n{card}"
    heading, line, body = rest.partition("\n")
    return f"{head}{title}{heading}{line}\n{CHANGED}\n{body}"
