"""Language: from a text to a trained model that scores, streams, goes on with it and saves itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel import load
from carrousel.artifact import Artifact, save
from carrousel.config import from_dict, to_dict
from carrousel.data.text import Document, Texts, documents
from carrousel.engine import Engine
from carrousel.errors import ConfigError, NotTrainedError, SettingError, WeightsError, require
from carrousel.features.language import LanguageSizes
from carrousel.features.token import FILE, Ids, Tokenizer, check_size, encode, from_json, learn
from carrousel.tasks.generate import Sampling, beam, check_stop, decoded, sample, until
from carrousel.tasks.language_card import language_card
from carrousel.tasks.language_setting import LanguageLearned, LanguageSettings
from carrousel.tasks.ngram import ORDERS, KneserNey
from carrousel.tasks.surprise import Scorer, TextScore, TextStream

if TYPE_CHECKING:
    from carrousel.training import History, Report

REMEMBERED = 4_000_000  # tokens of the training text that are kept, for the baseline
PLACES, PLACE = 8, 64  # places of a piece of text, and tokens in each, by which it is recognised
_LOG = logging.getLogger("carrousel")


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLanguage:
    """A trained language model as arrays.

    Parameters
    ----------
    sizes : of the network
    tokenizer : of its vocabulary
    weights : of ``sizes.architecture()``
    learned : what the training found
    tokens : the last ids that it was trained on, int32 or uint8 (T,)
    """

    sizes: LanguageSizes
    tokenizer: Tokenizer
    weights: dict[str, npt.NDArray[np.float32]]
    learned: LanguageLearned
    tokens: npt.NDArray[np.integer] = field(default_factory=lambda: np.empty(0, np.int32))

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.sizes.architecture(), self.weights)

    @cached_property
    def never(self) -> Ids:
        """Tokens that are not to be written: an unknown one, and the end where no training text had one behind it."""
        unknown = self.tokenizer.unknown
        ends = bool((self.tokens == 0).any())
        return np.array([*([] if unknown is None else [unknown]), *([] if ends else [0])], np.int64)

    @cached_property
    def baseline(self) -> KneserNey:
        return KneserNey(self.tokens, self.sizes.vocabulary, ORDERS[self.tokenizer.level])


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
        self.settings = from_dict(LanguageSettings, settings, where="LanguageModel", error=SettingError)
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
        from carrousel.tasks.language_fit import fit_language  # the only way to torch

        began = time.perf_counter()
        s = self.settings
        if isinstance(validation, (int, float)) and not 0 < validation < 1:
            raise SettingError(f"validation: expected a share above 0 and below 1, or texts, got {validation}")
        training = documents(text)
        tokenizer = learn(s.level, chain.from_iterable(document.pieces() for document in training), s.vocabulary)
        tokens, characters = _read(tokenizer, training)
        if isinstance(validation, (int, float)):
            border = len(tokens) - int(np.ceil(validation * len(tokens)))
            tokens, held_out = tokens[:border], tokens[border:]
        else:
            held_out, _ = _read(tokenizer, documents(validation))
        sizes = LanguageSizes(
            vocabulary=tokenizer.size,
            embedding_size=s.embedding_size,
            hidden_size=s.hidden_size,
            num_layers=s.num_layers,
        )
        weights, self.history = fit_language(
            tokens, held_out, sizes, s, run_dir=_path(run_dir), resume=resume, log_dir=_path(log_dir),
            progress=progress,
        )  # fmt: skip
        last = self.history.rows[-1]
        learned = LanguageLearned(
            seconds=time.perf_counter() - began,
            characters=characters,
            tokens=len(tokens),
            held_out=len(held_out),
            steps=last.step,
            epochs=last.epoch,
            validation=float(self.history.best_validation or 0.0),
        )
        self._fitted = FittedLanguage(
            sizes=sizes, tokenizer=tokenizer, weights=weights, learned=learned, tokens=tokens[-REMEMBERED:]
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
        fitted = self.fitted
        given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        given = {name: value for name, value in given.items() if value is not None}
        sampling = Sampling(**given)  # pyright: ignore[reportArgumentType]
        words = check_stop(stop)
        _check_whole("tokens", tokens, 0)
        _check_whole("beams", beams, 1)
        if seed is not None:
            _check_whole("seed", seed, 0)
        if beams > 1 and given:
            raise SettingError(
                f"beams: expected 1 together with {next(iter(given))}, got {beams}; leave one of them out"
            )
        ids = self._known(prompt, "prompt") if prompt else np.empty(0, np.int64)
        if beams > 1:
            chosen = iter(beam(fitted.engine, ids, tokens=tokens, beams=beams, never=fitted.never))
        else:
            chosen = sample(fitted.engine, ids, sampling, tokens=tokens, seed=seed, never=fitted.never)
        return until(decoded(fitted.tokenizer, chosen), words)

    def score(self, text: Texts) -> TextScore:
        """What texts cost the model, in nats: −log p, each from its first token on, and all together.

        Raises
        ------
        DataError : a file that is missing, empty or no text in UTF-8
        """
        fitted = self.fitted
        return self._scored(text, lambda: Scorer(fitted.engine, fitted.sizes.vocabulary).push)

    def baseline(self, text: Texts) -> TextScore:
        """What the same texts cost n-grams of the training text, smoothed by Kneser and Ney's way.

        Raises
        ------
        DataError : as ``score``
        """
        return self._scored(text, lambda: self.fitted.baseline.scorer())

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
        settings = to_dict(self.settings)
        artifact = Artifact(
            task="language",
            architecture=fitted.sizes.architecture(),
            weights=fitted.weights,
            settings=settings,
            statistics={"sizes": to_dict(fitted.sizes), "learned": to_dict(fitted.learned)},
            context={"tokens": fitted.tokens},
            card=language_card(fitted, settings),
            extras={FILE: fitted.tokenizer.to_json()},
            model_class="CarrouselLanguageModel",
        )
        return save(Path(path), artifact, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> LanguageModel:
        """Read a saved model, as ``carrousel.load`` does."""
        return load(path)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> LanguageModel:
        """The model of an artifact.

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
            tokens=_checked_tokens(dict(artifact.context or {}), sizes.vocabulary),
        )
        return model

    def _known(self, text: str, name: str) -> Ids:
        """Ids of a text; says which characters the model does not know."""
        ids = np.concatenate(list(encode(self.fitted.tokenizer, documents(text)[0].pieces())))
        if (ids == self.fitted.tokenizer.unknown).any():
            place = int(np.flatnonzero(ids == self.fitted.tokenizer.unknown)[0])
            _LOG.info("%s: the model does not know the character %r; it reads it as an unknown one", name, text[place])
        return ids

    def _scored(self, text: Texts, scorer: Callable[[], Callable[[Ids], npt.NDArray[np.float64]]]) -> TextScore:
        tokenizer = self.fitted.tokenizer
        nats, tokens, characters, unknown = 0.0, 0, 0, 0
        for document in documents(text):
            push, read = scorer(), _Counter(document)
            for ids in encode(tokenizer, read.pieces()):
                nats += float(push(ids).sum())
                tokens += len(ids)
                unknown += 0 if tokenizer.unknown is None else int((ids == tokenizer.unknown).sum())
            characters += read.characters
        return TextScore(nats=nats, tokens=tokens, characters=characters, unknown=unknown)


class _Counter:
    """A document that counts the characters it was read for."""

    def __init__(self, document: Document) -> None:
        self.characters = 0
        self._document = document

    def pieces(self) -> Iterator[str]:
        for piece in self._document.pieces():
            self.characters += len(piece)
            yield piece


def _read(tokenizer: Tokenizer, found: Sequence[Document]) -> tuple[npt.NDArray[np.integer], int]:
    """Ids of documents, behind each the token 0 if they are several, in the smallest type; and how many characters."""
    kind = np.uint8 if tokenizer.size <= 256 else np.int32
    parts: list[npt.NDArray[np.integer]] = []
    characters = 0
    for document in found:
        read = _Counter(document)
        parts += [ids.astype(kind) for ids in encode(tokenizer, read.pieces())]
        if len(found) > 1:
            parts.append(np.zeros(1, kind))
        characters += read.characters
    return np.concatenate(parts), characters


def _checked_tokens(context: dict[str, npt.NDArray[Any]], vocabulary: int) -> npt.NDArray[np.integer]:
    tokens = context.get("tokens", np.empty(0))
    whole = tokens.ndim == 1 and str(tokens.dtype) in ("uint8", "int32") and len(tokens) > 0
    if set(context) != {"tokens"} or not whole:
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in sorted(context.items()))
        raise WeightsError(
            f"context.safetensors: expected tokens, uint8 or int32 (T,), got {found or 'nothing'}; save the model again"
        )
    if int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary:
        raise WeightsError(
            f"context.safetensors: tokens: expected from 0 to {vocabulary - 1}, got others; save the model again"
        )
    return tokens


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise SettingError(f"{name}: expected an integer of at least {least}, got {value!r}")


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
