"""Models of Carrousel in Hugging Face transformers: importing this makes its ``Auto`` classes know them.

``AutoConfig``, ``AutoTokenizer``, ``AutoModel``, ``AutoModelForCausalLM`` and ``AutoModelForSequenceClassification``
then open a model's folder as it is, and so does all that goes through them, such as ``pipeline``. An artifact holds no
code, so without this import transformers does not know what it is.
"""

from __future__ import annotations

from carrousel.errors import require

for _package in ("torch", "transformers"):
    require(_package, extra="huggingface", purpose="carrousel.interop.huggingface")

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

from carrousel.interop.huggingface.cache import CarrouselCache  # noqa: E402
from carrousel.interop.huggingface.causal import CarrouselForCausalLM  # noqa: E402
from carrousel.interop.huggingface.classifier import CarrouselForSequenceClassification  # noqa: E402
from carrousel.interop.huggingface.config import CarrouselConfig  # noqa: E402
from carrousel.interop.huggingface.model import CarrouselModel  # noqa: E402
from carrousel.interop.huggingface.tokenizer import CarrouselTokenizer  # noqa: E402

__all__ = [
    "CarrouselCache",
    "CarrouselConfig",
    "CarrouselForCausalLM",
    "CarrouselForSequenceClassification",
    "CarrouselModel",
    "CarrouselTokenizer",
]

AutoConfig.register(CarrouselConfig.model_type, CarrouselConfig, exist_ok=True)
AutoTokenizer.register(CarrouselConfig, fast_tokenizer_class=CarrouselTokenizer, exist_ok=True)
AutoModel.register(CarrouselConfig, CarrouselModel, exist_ok=True)
AutoModelForCausalLM.register(CarrouselConfig, CarrouselForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(CarrouselConfig, CarrouselForSequenceClassification, exist_ok=True)
