"""The classifier on the command line, from a table to a stream of answers."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

import carrousel
from cli.program import process, refusal, succeed

QUICK = ("--hidden-size", "12", "--ensemble", "2", "--max-steps", "60", "--learning-rate", "0.02", "--dropout", "0.2")
ROWS = [(f"win a prize {k}", "spam") for k in "abcde"] + [(f"lunch at {k} ?", "mail") for k in "vwxyz"]


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, and a model of them in runs/mail."""
    home = tmp_path_factory.mktemp("classify")
    write(home / "mail.csv", ("message", "kind"), ROWS * 2)
    done = process("train", "classify", "mail.csv", "--text", "message", "--label", "kind", *QUICK, "-o", "runs/mail",
                   cwd=home)  # fmt: skip
    assert done.code == 0, done.err
    assert re.search(r"^held-out parts, network by network: accuracy \d\.\d{4} of 8, log loss", done.out, re.MULTILINE)
    assert "saved runs/mail" in done.out
    assert "20 sequences of 2 classes" in done.err
    assert not (home / "runs/mail.training").exists()
    return home


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sequences of numbers, and a model that reads them one way in runs/waves."""
    home = tmp_path_factory.mktemp("waves")
    rows = [(f"s{k}", t, round(float(np.sin(t * (0.4 if k % 2 else 1.6) + k)), 4), "slow" if k % 2 else "fast")
            for k in range(30) for t in range(12)]  # fmt: skip
    write(home / "waves.csv", ("run", "t", "height", "class"), rows)
    done = process("train", "classify", "waves.csv", "--sequence", "run", "--one-way", *QUICK, "-o", "runs/waves",
                   cwd=home)  # fmt: skip
    assert done.code == 0, done.err
    return home


def write(path: Path, header: tuple[str, ...], rows: list) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def test_predict_writes_the_classes_and_their_probabilities(mail):
    model = carrousel.load(mail / "runs/mail")
    out = succeed("predict", "runs/mail", "mail.csv", cwd=mail)
    rows = list(csv.DictReader(io.StringIO(out)))
    expected = model.predict([text for text, _ in ROWS * 2])
    assert [row["label"] for row in rows] == expected.labels.tolist()
    np.testing.assert_allclose([float(row["p_spam"]) for row in rows], expected.probabilities[:, 1], rtol=1e-12)
    succeed("predict", "runs/mail", "mail.csv", "-o", "classes.csv", cwd=mail)
    assert (mail / "classes.csv").read_text() == out
    one = list(csv.DictReader(io.StringIO(succeed("predict", "runs/mail", "lunch at v ?", cwd=mail))))
    assert [row["label"] for row in one] == ["mail"]


def test_evaluate_says_how_good_it_is_beside_the_baselines(mail, waves):
    found = json.loads(succeed("evaluate", "runs/mail", "mail.csv", "--json", cwd=mail))
    assert list(found["scores"]) == ["Carrousel", "naive Bayes, words and pairs", "class shares"]
    assert found["examples"] == 20
    assert found["scores"]["class shares"]["accuracy"] == 0.5
    out = succeed("evaluate", "runs/mail", "mail.csv", cwd=mail)
    assert f"{found['scores']['Carrousel']['accuracy']:.4f}" in out
    assert "20 examples of 2 classes" in out
    assert "nearest neighbour" in succeed("evaluate", "runs/waves", "waves.csv", cwd=waves)


def test_stream_answers_every_text(mail):
    model = carrousel.load(mail / "runs/mail")
    lines = "".join(json.dumps({"message": text}) + "\n" for text, _ in ROWS)
    found = [json.loads(line) for line in succeed("stream", "runs/mail", cwd=mail, text=lines).splitlines()]
    assert [answer["label"] for answer in found] == model.predict([text for text, _ in ROWS]).labels.tolist()
    assert found[0]["steps"] == 4
    assert set(found[0]["probabilities"]) == {"mail", "spam"}
    done = process("stream", "runs/mail", "--skip-bad", cwd=mail, text='{"message": " "}\n{"x": 1}\n' + lines)
    assert done.code == 0
    assert len(done.out.splitlines()) == len(ROWS)
    assert "error: line 1: message: expected a text, got ' '" in done.err


def test_stream_answers_every_sample_of_several_sequences(waves):
    model = carrousel.load(waves / "runs/waves")
    rows = list(csv.DictReader(io.StringIO((waves / "waves.csv").read_text())))
    mixed = [row for pair in zip(rows[:12], rows[12:24], strict=True) for row in pair]
    lines = "run,t,height,class\n" + "".join(",".join(row.values()) + "\n" for row in mixed)
    found = [json.loads(line) for line in succeed("stream", "runs/waves", cwd=waves, text=lines).splitlines()]
    assert [answer["run"] for answer in found] == ["s0", "s1"] * 12
    for name, part in (("s0", rows[:12]), ("s1", rows[12:24])):
        last = [answer for answer in found if answer["run"] == name][-1]
        expected = model.predict([[float(row["height"]) for row in part]])
        assert last["steps"] == 12
        assert last["label"] == expected.labels[0]
        assert last["probability"] == pytest.approx(expected.probabilities.max(), abs=1e-5)


def test_folders_and_ts_files_are_read_too(tmp_path):
    for text, kind in ROWS:
        (tmp_path / "mails" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "mails" / kind / f"{text[-3:].strip(' ?')}.txt").write_text(text)
    succeed("train", "classify", "mails", *QUICK, "-o", "runs/a", cwd=tmp_path)
    assert "10 examples" in succeed("evaluate", "runs/a", "mails", cwd=tmp_path)
    lines = [f"{','.join(str(k * t % 5) for t in range(6))}:{k % 2 + 1}" for k in range(12)]
    (tmp_path / "x.ts").write_text("@problemName x\n@classLabel true 1 2\n@data\n" + "\n".join(lines) + "\n")
    succeed("train", "classify", "x.ts", *QUICK, "-o", "runs/b", cwd=tmp_path)
    rows = list(csv.DictReader(io.StringIO(succeed("predict", "runs/b", "x.ts", cwd=tmp_path))))
    assert {row["label"] for row in rows} <= {"1", "2"}


def test_what_cannot_be_is_one_sentence_and_exit_code_2(mail, tmp_path):
    assert "no such file" in refusal("train", "classify", "nothing.csv", "-o", tmp_path / "r", cwd=mail)
    message = refusal("train", "classify", "mail.csv", "-o", tmp_path / "r", "--label", "kinds", cwd=mail)
    assert message == "error: label column 'kinds': not in the table; did you mean 'kind'?"
    assert "no such file" in refusal("predict", "runs/mail", "nothing.csv", cwd=mail)
    message = refusal("train", "classify", "mail.csv", "-o", "runs/mail", cwd=mail)
    assert "--overwrite" in message
    write(tmp_path / "other.csv", ("message", "kind"), [("a b", "animal")])
    assert "got 'animal'" in refusal("evaluate", "runs/mail", tmp_path / "other.csv", cwd=mail)
