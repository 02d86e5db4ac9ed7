"""The language model on the command line, from text files to a stream of surprises."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

import carrousel
from carrousel import cli
from carrousel.tasks.adaptive import DynamicEvaluation, NeuralCache
from cli.program import PROGRAM, process, refusal, succeed

TEXT = "one fish two fish red fish blue fish.\n" * 60
QUICK = ("--hidden-size", "24", "--embedding-size", "12", "--batch-size", "8", "--learning-rate", "0.01")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, and a model of characters in runs/fish."""
    home = tmp_path_factory.mktemp("language")
    (home / "fish.txt").write_text(TEXT)
    (home / "other.txt").write_text("two red fish, one blue fish.\n")
    done = process("train", "language", "fish.txt", *QUICK, "--max-steps", 80, "-o", "runs/fish", cwd=home)
    assert done.code == 0, done.err
    assert re.search(r"^validation part: \d\.\d{4} nats a character$", done.out, re.MULTILINE)
    assert "saved runs/fish" in done.out
    assert "parameters" in done.err
    assert not (home / "runs/fish.training").exists()
    return home


def test_predict_goes_on_with_the_prompt_as_the_model_does(words):
    model = carrousel.load(words / "runs/fish")
    out = succeed("predict", "runs/fish", "--prompt", "one ", "--tokens", 40, "--seed", 3, cwd=words)
    assert out == "one " + model.generate("one ", tokens=40, seed=3) + "\n"
    how = ("--temperature", 0.5, "--top-k", 3, "--top-p", 0.9, "--stop", ".", "--seed", 1)
    out = succeed("predict", "runs/fish", *how, cwd=words)
    assert out == model.generate(tokens=500, temperature=0.5, top_k=3, top_p=0.9, stop=".", seed=1) + "\n"
    out = succeed("predict", "runs/fish", "--beams", 3, "--tokens", 8, cwd=words)
    assert out == model.generate(tokens=8, beams=3) + "\n"


def test_predict_prints_while_it_generates(words):
    words_ = [PROGRAM, "predict", "runs/fish", "--tokens", "100000000", "--seed", "1"]
    with subprocess.Popen(words_, cwd=words, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert len(running.stdout.read(100)) == 100
        running.kill()


def test_evaluate_says_nats_bits_and_perplexity_beside_the_ngrams(words):
    model = carrousel.load(words / "runs/fish")
    found = json.loads(succeed("evaluate", "runs/fish", "other.txt", "--json", cwd=words))
    own, other = found["scores"]["Carrousel"], found["scores"]["7-grams, Kneser-Ney"]
    score = model.score(words / "other.txt")
    assert own["nats"] == pytest.approx(score.nats)
    assert own["bits_per_character"] == pytest.approx(score.nats / 29 / math.log(2))
    assert own["perplexity"] == pytest.approx(math.exp(score.nats / 29))
    assert other["nats"] == pytest.approx(model.baseline(words / "other.txt").nats)
    assert (found["characters"], found["unknown"]) == (29, 1)  # the comma
    table = succeed("evaluate", "runs/fish", "other.txt", cwd=words)
    assert f"{score.nats_per_character:.4f}" in table
    assert re.search(r"the model needs \d+\.\d % (more|fewer) bits than the n-grams", table)


def test_training_goes_on_from_a_model_on_other_text_and_says_what_is_unknown(words):
    start = (words / "runs/fish/model.safetensors").read_bytes()
    (words / "mine.txt").write_text("a red fish, a blue fish!\n" * 40)
    options = ("--from", "runs/fish", "--max-steps", 12, "--factor", 2, "--unfreeze", 0.5, "--dropout", 0,
               "--learning-rate", 0.01)  # fmt: skip
    done = process("train", "language", "mine.txt", *options, "-o", "runs/mine", cwd=words)
    assert done.code == 0, done.err
    assert "note: fine_tune: 160 of 1,000 characters are unknown to the start model ('a', '!', ',')" in done.err
    assert (words / "runs/fish/model.safetensors").read_bytes() == start
    model = carrousel.load(words / "runs/mine")
    assert (model.settings.hidden_size, model.settings.dropout, model.settings.max_steps) == (24, 0, 12)
    fresh = "a blue fish, a red fish!"
    assert model.score(fresh).nats < 0.9 * carrousel.load(words / "runs/fish").score(fresh).nats
    assert not (words / "runs/mine.training").exists()


def test_evaluate_shows_what_adapting_to_the_text_brings(words):
    model, text = carrousel.load(words / "runs/fish"), words / "other.txt"
    options = ("--cache", "--cache-theta", 0.5, "--dynamic-rate", 0.001, "--dynamic-length", 8)
    scores = json.loads(succeed("evaluate", "runs/fish", "other.txt", *options, "--json", cwd=words))["scores"]
    assert list(scores) == [
        "Carrousel", "Carrousel, neural cache", "Carrousel, dynamic evaluation", "7-grams, Kneser-Ney",
    ]  # fmt: skip
    assert scores["Carrousel"]["nats"] == pytest.approx(model.score(text).nats)
    cache, dynamic = NeuralCache(theta=0.5), DynamicEvaluation(rate=0.001, length=8)
    assert scores["Carrousel, neural cache"]["nats"] == pytest.approx(model.score(text, cache=cache).nats)
    found = scores["Carrousel, dynamic evaluation"]["nats"]
    assert found == pytest.approx(model.score(text, dynamic=dynamic).nats, rel=1e-6)
    assert "neural cache" in succeed("evaluate", "runs/fish", "other.txt", "--cache-window", 9, cwd=words)


def test_a_report_of_the_evaluated_text_is_one_page(words):
    succeed("evaluate", "runs/fish", "other.txt", "--cache", "--report", "report.html", cwd=words)
    page = (words / "report.html").read_text("utf-8")
    assert "Language: other.txt" in page
    assert "Carrousel, neural cache" in page
    assert 'title="' in page.partition('<div class="read">')[2]


def test_the_demo_leaves_a_model_and_a_report(words, monkeypatch):
    monkeypatch.setattr("carrousel.cli._text.text_paths", lambda names: [words / "fish.txt"])
    out = succeed("demo", "language", "-o", words / "runs/play", "--minutes", 0.02, "--seed", 1, cwd=words)
    assert "n-grams by Kneser-Ney" in out
    assert str(words / "runs/play.html") in out
    page = (words / "runs/play.html").read_text("utf-8")
    assert "Learning rate" in page
    assert "The scored tenth also chose the weights" in page
    assert carrousel.load(words / "runs/play").generate(tokens=5, seed=0)


def test_evaluate_of_the_last_part_scores_that_part(words):
    found = json.loads(succeed("evaluate", "runs/fish", "fish.txt", "--last", 0.1, "--json", cwd=words))
    last = TEXT[len(TEXT) - math.ceil(len(TEXT) / 10) :]
    assert found["characters"] == len(last)
    assert found["scores"]["Carrousel"]["nats"] == pytest.approx(carrousel.load(words / "runs/fish").score(last).nats)


def test_evaluate_says_so_where_the_text_was_trained_on(words):
    done = process("evaluate", "runs/fish", "fish.txt", cwd=words)
    assert "parts of this text were trained on" in done.err
    assert "trained on" not in process("evaluate", "runs/fish", "other.txt", cwd=words).err


def test_stream_scores_every_token_of_a_pipe(words):
    text = "one fish\ntwö"
    lines = succeed("stream", "runs/fish", cwd=words, text=text).splitlines()
    tokens = [json.loads(line) for line in lines]
    assert "".join(token["token"] for token in tokens) == "one fish\ntw\ufffd"
    expected = carrousel.load(words / "runs/fish").stream().push(text)
    assert [token["nats"] for token in tokens] == pytest.approx([token.nats for token in expected], abs=1e-6)


def test_stream_answers_before_the_pipe_ends(words):
    with subprocess.Popen(
        [PROGRAM, "stream", "runs/fish"], cwd=words, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for character in "one":
            running.stdin.write(character.encode())
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["token"] == character
        running.stdin.close()


def test_stream_refuses_what_is_no_text_in_one_line(words, monkeypatch, capsys):
    monkeypatch.chdir(words)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one \xff fish")))
    assert cli.main(["stream", "runs/fish"]) == 2
    assert capsys.readouterr().err == "error: stdin: expected text in UTF-8, got the byte 0xff at position 4\n"


def test_byte_pairs_go_the_whole_way(words):
    pytest.importorskip("tokenizers")
    level = ("--level", "bpe", "--vocabulary", 270, "--max-steps", 20)
    succeed("train", "language", "fish.txt", "other.txt", *QUICK, *level, "-o", "runs/pairs", cwd=words)
    assert succeed("predict", "runs/pairs", "--prompt", "öne ", "--tokens", 5, cwd=words).startswith("öne ")
    found = json.loads(succeed("evaluate", "runs/pairs", "other.txt", "--json", cwd=words))
    assert found["tokens"] < found["characters"] == 29
    assert "4-grams, Kneser-Ney" in found["scores"]
    lines = succeed("stream", "runs/pairs", cwd=words, text="one fïsh two").splitlines()
    assert "".join(json.loads(line)["token"] for line in lines) == "one fïsh two"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "language", "nowhere.txt", "-o", "runs/x"), "TEXT: expected a file or one of the public sets tiny"),
        (("train", "language", "nab", "-o", "runs/x"), "'nab': expected text, got labelled series"),
        (("train", "language", "empty.txt", "-o", "runs/x"), "empty.txt: expected text, got none: it is empty"),
        (("train", "language", "garbage", "-o", "runs/x"), "garbage: expected text in UTF-8, got the byte 0x"),
        (("train", "language", ".", "-o", "runs/x"), "expected a text file, got a folder"),
        (("train", "language", "fish.txt", "-o", "runs/fish"), "RUN: expected a new folder, got 'runs/fish'"),
        (("train", "language", "fish.txt", "--level", "word", "-o", "runs/x"), "level: expected one of 'char', 'bpe'"),
        (("train", "language", "fish.txt", "--factor", "2", "-o", "runs/x"), "--factor: expected together with --from"),
        (
            ("train", "language", "fish.txt", "--from", "runs/fish", "--hidden-size", "9", "-o", "runs/x"),
            "hidden_size: expected none, since the model that is started from has decided it (24), got 9",
        ),
        (
            ("train", "language", "fish.txt", "--from", "nowhere", "-o", "runs/x"),
            "RUN: expected the folder of a trained",
        ),
        (
            ("evaluate", "runs/fish", "other.txt", "--cache-weight", "2"),
            "cache: weight: expected a number of at least 0",
        ),
        (("evaluate", "runs/fish", "other.txt", "--dynamic-rule", "x"), "dynamic: rule: expected one of 'rms', 'sgd'"),
        (("predict", "runs/fish", "--temperature", "-1"), "temperature: expected a number of at least 0"),
        (("predict", "runs/fish", "--beams", "2", "--top-k", "1"), "beams: expected 1 together with top_k"),
        (("evaluate", "runs/fish", "empty.txt"), "empty.txt: expected text, got none: it is empty"),
        (("evaluate", "runs/fish", "other.txt", "--last", "0"), "--last: expected a share above 0"),
    ],
)
def test_mistakes_are_one_line(words, arguments, message):
    (words / "empty.txt").write_text("")
    (words / "garbage").write_bytes(bytes(range(255, 0, -1)) * 10)
    assert message in refusal(*arguments, cwd=words)
    assert not (words / "runs/x").exists()
    assert not (words / "runs/x.training").exists()


def test_use_of_a_language_model_imports_no_torch(words):
    code = (
        "import sys; from carrousel.cli import main; main(['predict', 'runs/fish', '--tokens', '3']);"
        "main(['evaluate', 'runs/fish', 'other.txt', '--cache', '--json']);"
        "print({'torch', 'pandas', 'polars', 'pyarrow', 'tokenizers', 'transformers'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=words, text=True, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
