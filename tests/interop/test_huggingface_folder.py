"""One folder for both: transformers opens what Carrousel saved, and the other way round, with the same values."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

import carrousel
from carrousel import artifact
from carrousel.engine import Engine
from carrousel.errors import ArtifactError, CarrouselError, ConfigError, SettingError, VersionError, WeightsError
from carrousel.interop.huggingface import CarrouselConfig, CarrouselForCausalLM, CarrouselModel, CarrouselTokenizer
from carrousel.interop.huggingface.folder import CHANGED
from carrousel.tasks.language import LanguageModel

BOTH = pytest.mark.parametrize("which", ["folder", "pairs_folder"])


def engine_logits(folder: Path, ids: torch.Tensor) -> np.ndarray:
    """What the engine gives for ids (N, L), from the beginning."""
    return Engine.load(folder).session(batch=len(ids)).run(ids.numpy())


def some_ids(folder: Path, rows: int = 3, length: int = 9) -> torch.Tensor:
    size = json.loads((folder / "config.json").read_text())["statistics"]["sizes"]["vocabulary"]
    return torch.randint(size, (rows, length), generator=torch.Generator().manual_seed(0))


@BOTH
def test_auto_classes_open_an_artifact_whose_logits_are_those_of_the_engine(which, request):
    folder = request.getfixturevalue(which)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is CarrouselForCausalLM
    assert not model.training
    ids = some_ids(folder)
    logits = model(ids).logits
    np.testing.assert_allclose(logits.detach().numpy(), engine_logits(folder, ids), atol=2e-5)
    assert type(AutoConfig.from_pretrained(folder)) is CarrouselConfig
    assert type(AutoTokenizer.from_pretrained(folder)) is CarrouselTokenizer
    assert [config.task for config in (model.config, AutoConfig.from_pretrained(str(folder)))] == ["language"] * 2
    assert model.config.architectures == [CarrouselForCausalLM.__name__]


@BOTH
def test_every_tensor_is_the_one_on_disk_by_its_name(which, request):
    folder = request.getfixturevalue(which)
    stored, loaded = artifact.read(folder).weights, AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert set(stored) == set(loaded)
    for name, array in stored.items():
        assert np.array_equal(array, loaded[name].numpy()), name


def test_nothing_is_reported_missing_or_left_over(folder):
    for auto in (AutoModelForCausalLM, AutoModel):
        _, told = auto.from_pretrained(folder, output_loading_info=True)
        assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_softmax_shares_the_embedding(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.num_parameters() == carrousel.load(folder).num_parameters


def test_the_dropouts_are_those_that_the_model_was_trained_with(pairs_folder, folder):
    model = AutoModelForCausalLM.from_pretrained(pairs_folder)
    assert model.dropout == model.lstm.dropout == model.config.dropout == 0.2
    assert model.lstm.variant.variational_dropout == (0.1, 0.0)
    ids = some_ids(pairs_folder)
    assert not torch.equal(model.train()(ids).logits, model.eval()(ids).logits)
    assert AutoModelForCausalLM.from_pretrained(folder, dropout=0.3).lstm.dropout == 0.3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_type_that_is_asked_for_is_that_of_weights_and_logits(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    ids = some_ids(folder)
    logits = model(ids, attention_mask=(ids > 3)).logits
    assert logits.dtype == dtype
    expected = AutoModelForCausalLM.from_pretrained(folder)(ids, attention_mask=(ids > 3)).logits
    tolerance = {torch.float64: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.4}[dtype]  # some 10 roundings in 2^-k
    torch.testing.assert_close(logits.float(), expected, atol=tolerance, rtol=0)


def test_the_body_gives_the_vectors_that_the_head_multiplies(folder):
    body, model = AutoModel.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert type(body) is CarrouselModel
    ids = some_ids(folder)
    torch.testing.assert_close(model.head(body(ids).last_hidden_state), model(ids).logits)


@BOTH
def test_what_transformers_saves_carrousel_opens_with_the_same_bits(which, request, tmp_path):
    folder = request.getfixturevalue(which)
    before = carrousel.load(folder)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "again")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "again")
    again = carrousel.load(tmp_path / "again")
    assert isinstance(again, LanguageModel)
    assert again.settings == before.settings
    text = "two fish, blue Fïsch."
    assert again.score(text) == before.score(text)
    assert again.baseline(text) == before.baseline(text)
    assert again.generate("two ", tokens=30, seed=1) == before.generate("two ", tokens=30, seed=1)
    for name in ("model.safetensors", "context.safetensors", "tokenizer.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    ids = some_ids(folder)
    assert torch.equal(reopened(ids).logits, AutoModelForCausalLM.from_pretrained(folder)(ids).logits)


def test_changed_weights_reach_the_engine_and_the_card_says_so(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder, dropout=0.25)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    for _ in range(2):
        model.save_pretrained(tmp_path / "run")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    ids = some_ids(folder)
    np.testing.assert_allclose(model(ids).logits.detach().numpy(), engine_logits(tmp_path / "run", ids), atol=2e-5)
    assert carrousel.load(tmp_path / "run").settings.dropout == 0.25
    card = (tmp_path / "run" / "README.md").read_text()
    assert card.count(CHANGED) == 1
    assert card.index("# Language model") < card.index(CHANGED) < card.index("## Measured")
    assert card.startswith("---\n")


def test_a_model_in_lower_precision_is_saved_in_float32(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "run")
    loaded = artifact.read(tmp_path / "run").weights
    for name, tensor in model.state_dict().items():
        assert np.array_equal(loaded[name], tensor.float().numpy()), name


def test_a_model_made_from_sizes_is_an_artifact_that_the_engine_runs(tmp_path):
    config = CarrouselConfig(vocab_size=31, embedding_size=6, hidden_size=10, num_layers=2)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path / "run")
    ids = torch.randint(31, (2, 8))
    np.testing.assert_allclose(model(ids).logits.detach().numpy(), engine_logits(tmp_path / "run", ids), atol=1e-6)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    assert torch.equal(again(ids).logits, model(ids).logits)
    body = CarrouselModel(config)
    body.save_pretrained(tmp_path / "body")
    vectors = AutoModel.from_pretrained(tmp_path / "body")(ids).last_hidden_state.detach().numpy()
    np.testing.assert_allclose(vectors, engine_logits(tmp_path / "body", ids), atol=1e-6)


def test_a_new_model_begins_as_carrousel_begins_one():
    config = CarrouselConfig(vocab_size=3000, embedding_size=64, hidden_size=100)
    torch.manual_seed(0)
    model = CarrouselForCausalLM(config)
    with torch.no_grad():
        inputs = model.embedding(torch.arange(3000)) * 8  # s = 8: what reaches the LSTM has variance 1
        assert inputs.std() == pytest.approx(1, abs=0.01)
        assert model.lstm.weight_ih_l0.abs().max() == pytest.approx(1 / 10, rel=0.01)
        assert torch.equal(model.state_dict()["lstm.weight_ih_l0"], 8 * model.lstm.weight_ih_l0)
        assert model.lstm.weight_hh_l0.abs().max() == pytest.approx(1 / 10, rel=0.01)
        assert not model.head.bias.any()


def test_tensors_go_into_a_model_and_out_of_it_in_the_form_on_disk(folder):
    stored = {name: torch.from_numpy(array) for name, array in artifact.read(folder).weights.items()}
    model = AutoModelForCausalLM.from_pretrained(folder)
    other = CarrouselForCausalLM(model.config).eval()
    within = torch.nn.ModuleDict({"inner": CarrouselForCausalLM(model.config)}).eval()
    assert not other.load_state_dict(stored).missing_keys
    within.load_state_dict({f"inner.{name}": tensor for name, tensor in stored.items()})
    ids = some_ids(folder)
    for loaded in (other, within["inner"]):
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    for name, tensor in stored.items():
        assert torch.equal(within.state_dict()[f"inner.{name}"], tensor)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(other.parameters(), model.parameters(), strict=True))
    assert torch.equal(4 * model.lstm.weight_ih_l0, stored["lstm.weight_ih_l0"])  # s = 4 for vectors of 12


def test_what_is_not_on_disk_in_its_size_begins_anew(folder):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, hidden_size=20, ignore_mismatched_sizes=True)
    assert model.lstm.weight_ih_l0.shape == (4 * 20, 12)
    assert float(model.lstm.weight_ih_l0.detach().abs().max()) == pytest.approx(20**-0.5, rel=0.01)
    assert torch.equal(model.embedding.weight, AutoModelForCausalLM.from_pretrained(folder).embedding.weight)


def test_a_configuration_alone_goes_to_disk_and_back(tmp_path):
    config = CarrouselConfig(vocab_size=31, embedding_size=6, hidden_size=10, num_layers=2, dropout=0.1)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.to_diff_dict() == config.to_diff_dict()
    assert (again.num_layers, again.num_hidden_layers, again.language_sizes) == (2, 2, config.language_sizes)


def test_the_tokens_that_carrousel_never_writes_are_suppressed(folder, pairs_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.generation_config.suppress_tokens == [1, 0]  # an unknown character; the end, where no text had one
    assert AutoModelForCausalLM.from_pretrained(pairs_folder).generation_config.suppress_tokens is None
    model.generation_config.suppress_tokens = [1, 5]
    model.save_pretrained(tmp_path / "run")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run").generation_config.suppress_tokens == [1, 5]


def hub(folder: Path, cache: Path) -> str:
    """The folder as a download from the Hub leaves it: links into a store of blobs."""
    place = cache / "models--me--fish"
    for part in ("blobs", "refs", "snapshots/" + "0" * 40):
        (place / part).mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    for file in folder.iterdir():
        shutil.copy(file, place / "blobs" / file.name)
        (place / "snapshots" / ("0" * 40) / file.name).symlink_to(f"../../blobs/{file.name}")
    return "me/fish"


def test_a_model_of_the_hub_is_opened_and_saved_like_a_folder(folder, tmp_path):
    where = {"cache_dir": tmp_path / "hub", "local_files_only": True}
    name = hub(folder, tmp_path / "hub")
    model = AutoModelForCausalLM.from_pretrained(name, **where)
    tokenizer = AutoTokenizer.from_pretrained(name, **where)
    assert tokenizer("two").input_ids == AutoTokenizer.from_pretrained(folder)("two").input_ids
    model.save_pretrained(tmp_path / "run")
    assert carrousel.load(tmp_path / "run").score("two fish") == carrousel.load(folder).score("two fish")


def test_a_name_that_is_nowhere_is_transformers_own_sentence(tmp_path):
    with pytest.raises(OSError, match=r"connect|nothing"):
        CarrouselForCausalLM.from_pretrained("me/nothing", cache_dir=tmp_path, local_files_only=True)


def test_a_device_map_is_obeyed(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")
    ids = some_ids(folder)
    assert torch.equal(model(ids).logits, AutoModelForCausalLM.from_pretrained(folder)(ids).logits)


def test_a_push_uploads_the_whole_folder_with_its_own_card(folder, tmp_path, monkeypatch):
    sent: dict[str, Any] = {}

    class Api:
        def __init__(self, token: object = None) -> None:
            sent["token"] = token

        def create_repo(self, repo_id: str, **how: Any) -> Any:
            sent.update(how)
            return type("Repo", (), {"repo_id": f"me/{repo_id}"})

        def upload_folder(self, *, repo_id: str, folder_path: str, **how: Any) -> str:
            shutil.copytree(folder_path, tmp_path / "uploaded")
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("carrousel.interop.huggingface.folder.HfApi", Api)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.push_to_hub("fish", private=True, token="t") == "https://hub/me/fish"
    assert sent == {"token": "t", "private": True, "exist_ok": True}
    assert carrousel.load(tmp_path / "uploaded").score("two fish") == carrousel.load(folder).score("two fish")
    assert (tmp_path / "uploaded" / "README.md").read_text() == (folder / "README.md").read_text()
    shutil.rmtree(tmp_path / "uploaded")
    model.save_pretrained(tmp_path / "fish", push_to_hub=True)
    assert (tmp_path / "uploaded" / "config.json").exists()


def edited(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy of a folder with another config.json, of which only the checksum is right."""
    shutil.copytree(folder, tmp_path / "edited")
    file = tmp_path / "edited" / "config.json"
    data = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(data))
    return tmp_path / "edited"


def test_an_artifact_of_another_task_is_refused_in_one_sentence(folder, tmp_path):
    whole = artifact.read(folder)
    for task in ("forecast", "detect", "network"):
        path = artifact.save(
            tmp_path / task,
            artifact.Artifact(task=task, architecture=whole.architecture, weights=whole.weights, settings={}),
        )
        for auto in (AutoConfig, AutoModelForCausalLM, AutoTokenizer, AutoModel):
            with pytest.raises(ConfigError) as caught:
                auto.from_pretrained(path)
            assert str(caught.value).startswith(f"{path}/config.json: task: expected 'language'")
            assert str(caught.value).endswith(f"got '{task}'; open it with carrousel.load")


def test_a_network_that_is_no_language_model_is_refused(folder, tmp_path):
    whole = artifact.read(folder)
    statistics = {**whole.statistics, "sizes": {**whole.statistics["sizes"], "hidden_size": 25}}
    path = artifact.save(tmp_path / "other", replace(whole, statistics=statistics))
    with pytest.raises(
        ConfigError, match="architecture: expected the layers of the sizes in statistics, got others; open it"
    ):
        AutoModelForCausalLM.from_pretrained(path)


def test_a_newer_format_is_refused_in_one_sentence(folder, tmp_path):
    path = edited(folder, tmp_path, format_version=99)
    for auto in (AutoConfig, AutoModelForCausalLM, AutoTokenizer):
        with pytest.raises(
            VersionError, match=r"expected format_version 1, got 99 .*; pip install --upgrade carrousel"
        ):
            auto.from_pretrained(path)


def test_a_config_that_was_changed_is_refused(folder, tmp_path):
    path = edited(folder, tmp_path, settings={})
    with pytest.raises(ConfigError, match=r"edited/config\.json: expected the contents that were saved"):
        AutoModelForCausalLM.from_pretrained(path)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("model.safetensors", ArtifactError, r"model\.safetensors: missing; save the model or copy the folder again"),
        ("tokenizer.json", ArtifactError, r"tokenizer\.json: missing; save the model or copy the folder again"),
        ("context.safetensors", ArtifactError, r"context\.safetensors: missing"),
    ],
)
def test_a_folder_without_one_of_its_files_is_refused_in_one_sentence(folder, tmp_path, name, error, message):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(error, match=message):
        AutoModelForCausalLM.from_pretrained(tmp_path / "run")


def test_a_truncated_file_is_refused_in_one_sentence(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        whole = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "run" / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((CarrouselError, OSError)) as caught:
            AutoModelForCausalLM.from_pretrained(tmp_path / "run")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        (tmp_path / "run" / name).write_bytes(whole)


def test_a_folder_without_a_config_is_transformers_own_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, OSError), match=r"config\.json"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "empty")


def test_what_an_artifact_cannot_hold_is_refused(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(SettingError, match="variant: expected None"):
        model.save_pretrained(tmp_path / "run", variant="fp16")
    with torch.no_grad():
        model.head.bias[3] = float("nan")
    with pytest.raises(WeightsError, match=r"head\.bias: expected finite values, got 1 of"):
        model.save_pretrained(tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(SettingError, match="hidden_size: expected an integer of at least 1, got 0"):
        CarrouselForCausalLM(CarrouselConfig(hidden_size=0))


def test_a_resized_vocabulary_keeps_the_tie_and_tells_carrousel(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    size = model.config.vocab_size
    model.resize_token_embeddings(size + 3)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model(torch.tensor([[size + 2]])).logits.shape == (1, 1, size + 3)
    model.save_pretrained(tmp_path / "run")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run").config.vocab_size == size + 3
    with pytest.raises(ConfigError, match=rf"tokenizer\.json: expected {size + 3} tokens as the network has"):
        carrousel.load(tmp_path / "run")


def run(code: str) -> str:
    """What a fresh process that fails says last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def test_without_the_import_transformers_does_not_know_the_model(folder):
    told = run(f"from transformers import AutoConfig\nAutoConfig.from_pretrained({str(folder)!r})")
    assert "has model type `carrousel` but Transformers does not recognize this architecture" in told


def test_without_transformers_it_says_what_to_install():
    told = run("import sys\nsys.modules['transformers'] = None\nimport carrousel.interop.huggingface")
    assert told.splitlines()[-1].endswith("is not installed; pip install 'carrousel[huggingface]'")
