"""Language: from a text to a trained model that scores, streams, goes on with it and saves itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carrousel import load
from carrousel.artifact import Artifact, save
from carrousel.config import from_dict, to_dict
from carrousel.data.text import Document, Texts, documents
from carrousel.engine import Dtype, check_dtype
from carrousel.errors import ConfigError, NotTrainedError, SettingError, WeightsError, require
from carrousel.features.language import LanguageSizes
from carrousel.features.token import FILE, Tokenizer, check_size, encode, from_json, learn
from carrousel.tasks.adaptive import DynamicEvaluation, NeuralCache
from carrousel.tasks.cache import CacheScorer
from carrousel.tasks.language_card import language_card
from carrousel.tasks.language_fitted import FittedLanguage, checked_tokens, read_tokens, unknown_characters
from carrousel.tasks.language_setting import (
    FINE,
    FIXED,
    LIMITS,
    LanguageLearned,
    LanguageSettings,
    Tuning,
    rated,
    stored,
)
from carrousel.tasks.language_write import write
from carrousel.tasks.surprise import Scorer, TextScore, TextStream

if TYPE_CHECKING:
    from carrousel.training import History, Report

REMEMBERED = 4_000_000  # tokens of the training text that are kept, for the baseline
PLACES, PLACE = 8, 64  # places of a piece of text, and tokens in each, by which it is recognised
_LOG = logging.getLogger("carrousel")


class LanguageModel:
    """A language model of characters or byte pairs: an LSTM that costs the same at every token, however long the text.

    Takes the fields of ``LanguageSettings`` by keyword.

    Examples
    --------
    >>> model = LanguageModel(hidden_size=16, max_steps=20).fit("to be or not to be, " * 50)
    >>> len(model.generate("to be", tokens=10, seed=0))
    10

    Raises
    ------
    SettingError : an unknown setting, or one outside its range
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = from_dict(LanguageSettings, rated(settings), where="LanguageModel", error=SettingError)
        self.history: History | None = None
        self._fitted: FittedLanguage | None = None

    @property
    def fitted(self) -> FittedLanguage:
        """The trained model.

        Raises
        ------
        NotTrainedError
        """
        if self._fitted is None:
            raise NotTrainedError("LanguageModel: expected a trained model, got none yet; call fit, or carrousel.load")
        return self._fitted

    @property
    def num_parameters(self) -> int:
        """Trained numbers; the vectors of the tokens, which stand at both ends of the network, count once."""
        weights = self.fitted.weights
        return sum(array.size for name, array in weights.items() if name != "head.weight")

    def fit(
        self,
        text: Texts,
        *,
        validation: float | Texts = 0.1,
        run_dir: str | Path | None = None,
        resume: bool = False,
        log_dir: str | Path | None = None,
        progress: Callable[[Report], None] | None = None,
    ) -> LanguageModel:
        """Train on texts.

        Parameters
        ----------
        text : a string is a text, a ``Path`` a file in UTF-8; or several of them
        validation : the last share of the tokens, or texts of their own; they end the training, which keeps the weights
            that are best on them
        run_dir : folder of checkpoints; with ``resume`` an interrupted fit goes on from there
        log_dir : folder of TensorBoard logs
        progress : called several times a second; None draws a bar on a terminal

        Raises
        ------
        DataError : a file that is missing, empty or no text in UTF-8
        HistoryError : too little text
        """
        require("torch", extra="train", purpose="fit")
        began = time.perf_counter()
        s = self.settings
        _check_share(validation)
        training = documents(text)
        tokenizer = learn(s.level, chain.from_iterable(document.pieces() for document in training), s.vocabulary)
        sizes = LanguageSizes(
            vocabulary=tokenizer.size,
            embedding_size=s.embedding_size,
            hidden_size=s.hidden_size,
            num_layers=s.num_layers,
        )
        return self._trained(
            training, validation, tokenizer, sizes, None, None, began,
            run_dir=_path(run_dir), resume=resume, log_dir=_path(log_dir), progress=progress,
        )  # fmt: skip

    def fine_tune(
        self,
        text: Texts,
        *,
        validation: float | Texts = 0.1,
        factor: float = 1.0,
        unfreeze: float = 0.0,
        run_dir: str | Path | None = None,
        resume: bool = False,
        log_dir: str | Path | None = None,
        progress: Callable[[Report], None] | None = None,
        **settings: Any,
    ) -> LanguageModel:
        """A new model, trained on from this one on other texts; this one stays as it is.

        Its tokens are this one's, and it says which characters of the texts have none. Its n-grams are of this one's
        text and of the new one.

        Parameters
        ----------
        text, validation, run_dir, resume, log_dir, progress : as in ``fit``. This model is what is kept where nothing
            better on the validation part is found
        factor, unfreeze : as in ``Tuning``
        **settings : of the training, as in ``LanguageSettings``; those that are not given are this model's, but for its
            limits and its learning rate

        Raises
        ------
        SettingError : a setting that the network has already decided
        DataError, HistoryError : as ``fit``
        """
        require("torch", extra="train", purpose="fine_tune")
        began = time.perf_counter()
        fitted, training = self.fitted, documents(text)
        _check_share(validation)
        tuning = Tuning(factor=factor, unfreeze=unfreeze)
        if decided := [name for name in FIXED if name in settings]:
            raise SettingError(
                f"{decided[0]}: expected none, since the model that is started from has decided it "
                f"({getattr(self.settings, decided[0])!r}), got {settings[decided[0]]!r}; leave it out, or fit anew"
            )
        kept = {name: value for name, value in vars(self.settings).items() if name not in LIMITS}
        fine = FINE if settings.get("optimizer", kept["optimizer"]) == "adamw" else {}
        model = LanguageModel(**{**kept, **fine, **rated(settings)})
        if sentence := unknown_characters(fitted.tokenizer, training):
            _LOG.info("fine_tune: %s", sentence)
        return model._trained(
            training, validation, fitted.tokenizer, fitted.sizes, fitted, tuning, began,
            run_dir=_path(run_dir), resume=resume, log_dir=_path(log_dir), progress=progress,
        )  # fmt: skip

    def _trained(
        self,
        training: Sequence[Document],
        validation: float | Texts,
        tokenizer: Tokenizer,
        sizes: LanguageSizes,
        start: FittedLanguage | None,
        tuning: Tuning | None,
        began: float,
        **how: Any,
    ) -> LanguageModel:
        """Train on documents from the beginning, or from where another model stands."""
        from carrousel.tasks.language_fit import fit_language  # the only way to torch

        tokens, characters = read_tokens(tokenizer, training)
        if isinstance(validation, (int, float)):
            border = len(tokens) - int(np.ceil(validation * len(tokens)))
            tokens, held_out = tokens[:border], tokens[border:]
        else:
            held_out, _ = read_tokens(tokenizer, documents(validation))
        weights, self.history = fit_language(
            tokens, held_out, sizes, self.settings, start=start and start.weights, tuning=tuning, **how
        )
        last = self.history.rows[-1]
        learned = LanguageLearned(
            seconds=time.perf_counter() - began,
            characters=characters,
            tokens=len(tokens),
            held_out=len(held_out),
            steps=last.step,
            epochs=last.epoch,
            validation=float(self.history.best_validation or 0.0),
            before=start.learned.tokens + start.learned.before if start else 0,
        )
        last_tokens = tokens[-REMEMBERED:].copy()  # or the whole text would stay in memory
        remembered = np.concatenate([start.tokens, last_tokens])[-REMEMBERED:] if start else last_tokens
        self._fitted = FittedLanguage(
            sizes=sizes, tokenizer=tokenizer, weights=weights, learned=learned, tokens=remembered
        )
        return self

    def generate(self, prompt: str = "", **how: Any) -> str:
        """The text that follows a prompt; arguments as in ``generate_pieces``."""
        return "".join(self.generate_pieces(prompt, **how))

    def generate_pieces(
        self,
        prompt: str = "",
        *,
        tokens: int = 200,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        beams: int = 1,
    ) -> Iterator[str]:
        """The text that follows a prompt, piece by piece as it arises.

        Parameters
        ----------
        prompt : read before; empty: the beginning of a text
        tokens : at most so many
        temperature : 1 by default; below, the probable becomes more so; 0 takes the most probable token each time
        top_k : only so many of the most probable tokens
        top_p : only the most probable tokens that together have this probability
        seed : the same seed gives the same text; None draws another one each time
        stop : the text ends before the first of these strings
        beams : more than 1 searches for the most probable text instead, keeping so many side by side

        Raises
        ------
        SettingError : a number outside its range, or one of sampling together with beams
        DataError : a prompt that is no text
        """
        return write(
            self.fitted, prompt, tokens=tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
            stop=stop, beams=beams,
        )  # fmt: skip

    def score(
        self, text: Texts, *, cache: NeuralCache | None = None, dynamic: DynamicEvaluation | None = None
    ) -> TextScore:
        """What texts cost the model, in nats: −log p, each from its first token on, and all together.

        Parameters
        ----------
        text : as in ``fit``
        cache : with what it remembers of each text, see ``carrousel.tasks.adaptive.NeuralCache``
        dynamic : with weights that follow each text, see ``carrousel.tasks.adaptive.DynamicEvaluation``

        Raises
        ------
        DataError : a file that is missing, empty or no text in UTF-8
        SettingError : both ways of adapting at once
        """
        fitted = self.fitted
        if cache is not None and dynamic is not None:
            raise SettingError("score: expected cache or dynamic, got both; leave one of them out")
        if cache is not None:
            return fitted.scored(text, lambda: CacheScorer(fitted.engine, cache).push)
        if dynamic is not None:
            require("torch", extra="train", purpose="dynamic evaluation")
            from carrousel.tasks.dynamic import DynamicScorer

            return fitted.scored(text, lambda: DynamicScorer(fitted, dynamic).push)
        return fitted.scored(text, lambda: Scorer(fitted.engine, fitted.sizes.vocabulary).push)

    def baseline(self, text: Texts) -> TextScore:
        """What the same texts cost n-grams of the training text, smoothed by Kneser and Ney's way.

        Raises
        ------
        DataError : as ``score``
        """
        return self.fitted.scored(text, lambda: self.fitted.baseline.scorer())

    def perplexity(self, text: Texts) -> float:
        """exp of the nats a token; see ``score``."""
        return self.score(text).perplexity

    def trained_on(self, text: Texts) -> bool:
        """Whether parts of texts, looked at in a few places, stand in the text that the model was trained on."""
        kind, known = self.fitted.tokens.dtype, self.fitted.tokens.tobytes()
        for document in documents(text):
            for ids in encode(self.fitted.tokenizer, document.pieces()):
                places = np.linspace(0, len(ids) - PLACE, PLACES).astype(np.int64) if len(ids) >= PLACE else ()
                if any(ids[first : first + PLACE].astype(kind).tobytes() in known for first in places):
                    return True
        return False

    def stream(self) -> TextStream:
        """The surprise of every token of a text that comes piece by piece."""
        return TextStream(self.fitted.engine, self.fitted.tokenizer)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model as a folder: config.json, model.safetensors, tokenizer.json, context.safetensors, a card.

        ``context.safetensors`` holds the last tokens of the training text, on which the baseline rests.

        Raises
        ------
        ArtifactError : the folder exists (and `overwrite` is False), is something else, or cannot be written
        """
        fitted = self.fitted
        settings = stored(self.settings)
        artifact = Artifact(
            task="language",
            architecture=fitted.sizes.architecture(),
            weights=fitted.weights,
            settings=settings,
            statistics={"sizes": to_dict(fitted.sizes), "learned": fitted.learned.stored()},
            context={"tokens": fitted.tokens},
            card=language_card(fitted, settings),
            extras={FILE: fitted.tokenizer.to_json()},
            model_class="CarrouselForCausalLM",
        )
        return save(Path(path), artifact, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> LanguageModel:
        """Read a saved model, as ``carrousel.load`` does."""
        return load(path)

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, dtype: Dtype = "float32") -> LanguageModel:
        """The model of an artifact, its weights stored as ``dtype``.

        Raises
        ------
        ArtifactError : settings, statistics, tokens or weights that do not fit each other
        """
        where = "config.json: statistics"
        settings = from_dict(LanguageSettings, artifact.settings, where="config.json: settings")
        if set(artifact.statistics) != {"sizes", "learned"}:
            raise ConfigError(f"{where}: expected sizes and learned, got {sorted(artifact.statistics)}; save it again")
        sizes = from_dict(LanguageSizes, artifact.statistics["sizes"], where=f"{where}.sizes")
        learned = from_dict(LanguageLearned, artifact.statistics["learned"], where=f"{where}.learned")
        if artifact.architecture != sizes.architecture():
            raise ConfigError(f"{where}.sizes: does not describe the layers in `architecture`; save the model again")
        if FILE not in artifact.extras:
            raise ConfigError(f"config.json: expected a checksum of {FILE}, got none; save the model again")
        tokenizer = from_json(artifact.extras[FILE], settings.level)
        check_size(tokenizer, sizes.vocabulary)
        if not np.array_equal(artifact.weights["head.weight"], artifact.weights["embedding.weight"]):
            raise WeightsError("model.safetensors: head.weight: expected embedding.weight, got another; save it again")
        model = cls(**vars(settings))
        model._fitted = FittedLanguage(
            sizes=sizes,
            tokenizer=tokenizer,
            weights=dict(artifact.weights),
            learned=learned,
            tokens=checked_tokens(dict(artifact.context or {}), sizes.vocabulary),
            dtype=check_dtype(dtype),
        )
        return model


def _check_share(validation: float | Texts) -> None:
    if isinstance(validation, (int, float)) and not 0 < validation < 1:
        raise SettingError(f"validation: expected a share above 0 and below 1, or texts, got {validation}")


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
