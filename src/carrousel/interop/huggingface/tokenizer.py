"""The tokenizer of an artifact for transformers: the ids are those of ``features.token``, for every text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from carrousel.errors import ConfigError
from carrousel.features.token import FILE, START
from carrousel.features.word import UNKNOWN

AGAIN = "save the model or copy the folder again"


class CarrouselTokenizer(PreTrainedTokenizerFast):
    """A fast tokenizer over ``tokenizer.json``, of characters, byte-level pairs or words.

    Of a language model the token 0 stands before every text, as it was trained; ``add_special_tokens=False`` leaves it
    out. It also ends and pads a text. Of a classifier no token stands before a text, and the unknown one pads. A text
    that spells such a token out, ``<|endoftext|>``, is a text like any other. Padding stands on the left.
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012 - transformers' own form of it
    padding_side = "left"

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Nothing to convert: the file is what the library reads."""
        return kwargs

    def __init__(self, tokenizer_file: str | os.PathLike[str] | None = None, **kwargs: Any) -> None:
        inner = kwargs.pop("tokenizer_object", None)
        if inner is None:
            if tokenizer_file is None:
                raise ConfigError(f"{FILE}: missing; {AGAIN}")
            self._text = Path(tokenizer_file).read_text(encoding="utf-8")
            try:
                inner = Tokenizer.from_str(self._text)
            except Exception as error:  # the library's errors have no other class
                raise ConfigError(
                    f"{tokenizer_file}: expected a tokenizer, got another file ({error}); {AGAIN}"
                ) from error
        else:
            self._text = inner.to_str(pretty=True)
        self._size = inner.get_vocab_size()
        words = inner.id_to_token(0) == UNKNOWN
        kwargs.setdefault("add_bos_token", not words)
        for name in ("unk_token", "pad_token") if words else ("bos_token", "eos_token", "pad_token"):
            kwargs.setdefault(name, UNKNOWN if words else START)
        kwargs.setdefault("clean_up_tokenization_spaces", False)
        kwargs.setdefault("split_special_tokens", True)
        super().__init__(tokenizer_object=inner, **kwargs)

    def _save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Write the file as it was read, whose checksum the artifact's config.json holds, while no token was added."""
        if len(self) != self._size:
            return super()._save_pretrained(save_directory, file_names, legacy_format, filename_prefix)
        file = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{FILE}"
        file.write_text(self._text, encoding="utf-8")
        return (*file_names, str(file))
