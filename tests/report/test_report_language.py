"""The report about a language model: what it says is what was measured, and it is drawn whole, alone and safely."""

from __future__ import annotations

import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import browser
import carrousel
from carrousel.engine import Session
from carrousel.report.language import characters_of, read, write_language_report
from carrousel.tasks.adaptive import NeuralCache
from carrousel.tasks.language import LanguageModel
from carrousel.tasks.ngram import KneserNey
from carrousel.training import silent
from reported import HOSTILE, lead
from reported import read as taken_apart

TEXT = "the cat sat on the mat. a dog ran to the cat; it sat.\n" * 60
OTHER = "a mat ran to the dog!\r\nthe cat sat;\tit sat on it.\n" * 30
SMALL = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8, "sequence_length": 16, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(**SMALL, max_steps=100, seed=1).fit(TEXT, progress=silent)


@pytest.fixture(scope="module")
def page(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    adaptive = {"Carrousel, neural cache": model.score(OTHER, cache=NeuralCache())}
    return write_language_report(
        folder / "r.html", model=model, text=OTHER, adaptive=adaptive, artifact=model.save(folder / "run")
    )


def coloured(html: str) -> list[tuple[int, str, str]]:
    """Colour, title and text of every token that is shown."""
    box = html.partition('<div class="read">')[2].partition("</div>")[0]
    spans = re.findall(r'<span class="u(\d)" title="([^"]*)">(.*?)</span>', box, re.DOTALL)
    return [(int(colour), unescape(title), unescape(text)) for colour, title, text in spans]


@pytest.mark.parametrize("values", [2000, 1 << 20], ids=["some tokens at once", "all at once"])
def test_a_reading_costs_what_the_model_and_the_ngrams_say_to_the_bit(model, monkeypatch, values):
    monkeypatch.setattr("carrousel.report.language.VALUES", values)
    monkeypatch.setattr("carrousel.data.text.PIECE", 700)  # so that sums are added piece by piece
    texts = [OTHER, TEXT[:70]]
    reading = read(model, texts)
    assert reading.starts == [0, len(OTHER)]
    assert (reading.score, reading.baseline) == (model.score(texts), model.baseline(texts))
    assert reading.score.unknown > 0
    assert reading.nats.sum() == pytest.approx(reading.score.nats)
    assert reading.grams.sum() == pytest.approx(reading.baseline.nats)
    right = reading.expected == reading.ids
    assert 0 < right.mean() < 1
    np.testing.assert_allclose(reading.certain[right], np.exp(-reading.nats[right]), rtol=1e-6)
    assert (reading.certain >= np.exp(-reading.nats) - 1e-9).all()


def test_the_text_of_a_page_is_read_once(model, monkeypatch, tmp_path):
    counts = {"network": 0, "grams": 0}
    run, grams = Session.run, KneserNey._nats

    def counted_run(session, ids):
        counts["network"] += ids.size
        return run(session, ids)

    def counted_grams(baseline, sequence):
        counts["grams"] += len(sequence) - baseline.order + 1
        return grams(baseline, sequence)

    monkeypatch.setattr(Session, "run", counted_run)
    monkeypatch.setattr(KneserNey, "_nats", counted_grams)
    monkeypatch.setattr("carrousel.report.language_page.TEMPERATURES", ())  # what it writes is not what it reads
    write_language_report(tmp_path / "r.html", model=model, text=[OTHER, OTHER])
    assert counts == {"network": 2 * len(OTHER), "grams": 2 * len(OTHER)}


def test_the_page_says_what_was_measured(model, page):
    text, tables, data = taken_apart(page)
    score, other = model.score(OTHER), model.baseline(OTHER)
    own, grams = score.bits_per_character, other.bits_per_character
    assert f"{own:.3f} against {grams:.3f} bits a character" in lead(text)
    assert (f"{100 * (1 - own / grams):.1f}% fewer bits" in lead(text)) == (own < grams)
    rows = {row[0]: row[1:] for row in tables.rows if row}
    assert rows["Carrousel"][:2] == [f"{own:.4f}", f"{score.nats_per_character:.4f}"]
    assert rows["7-grams, Kneser-Ney"][:2] == [f"{grams:.4f}", f"{other.nats_per_character:.4f}"]
    assert "Carrousel, neural cache" in rows
    assert {"parts", "loss", "rate"} <= set(data["figures"])
    parts = {mark["name"]: mark for mark in data["figures"]["parts"]["marks"]}
    assert np.mean(parts["Carrousel"]["y"]) == pytest.approx(own, rel=0.02)  # parts are as equal as whole tokens allow
    assert np.mean(parts["7-grams, Kneser-Ney"]["y"]) == pytest.approx(grams, rel=0.02)
    assert "characters are unknown to it" in text
    assert "Temperature 0.5" in text


def test_tokens_are_coloured_by_their_bits_and_tell_what_was_expected(model, page):
    found = coloured(page.read_text("utf-8"))
    shown = "".join(text for _, _, text in found)
    plain = shown.replace("⏎\n", "\n").replace("\r", "\ufffd")
    known = "".join(c if c in TEXT else "\ufffd" for c in OTHER)
    assert len(found) > 500
    assert plain in known
    bits = {float(title.partition(" ")[0]): colour for colour, title, _ in found}
    for value, colour in bits.items():
        if min(abs(value - step) for step in (1, 2, 4, 6, 8)) > 0.06:  # titles are rounded
            assert colour == sum(value >= step for step in (1, 2, 4, 6, 8))
    assert len(set(bits.values())) >= 3
    assert all(re.fullmatch(r"[\d.]+ bits; expected .+ \(\d+%\)", title) for _, title, _ in found)


def test_what_was_expected_least_comes_first(model, page):
    reading = read(model, OTHER)
    html = page.read_text("utf-8").partition("What it expected least")[2].partition("</section>")[0]
    bits = [float(cell) for cell in re.findall(r"<td>([\d.]+)</td>", html)]
    assert bits[0] == pytest.approx(reading.nats.max() / math.log(2), abs=0.06)
    assert bits == sorted(bits, reverse=True)


def test_text_that_was_trained_on_and_a_loaded_model_are_told(model, page, tmp_path):
    loaded = carrousel.load(page.parent / "run")
    text, _, _ = taken_apart(write_language_report(tmp_path / "r.html", model=loaded, text=TEXT))
    assert "Caution: parts of this text were trained on" in text
    assert "which keeps no training curves" in text


def test_a_page_of_byte_pairs_and_many_scripts_is_whole(tmp_path):
    pytest.importorskip("tokenizers")
    pairs = LanguageModel(**{**SMALL, "embedding_size": 24}, level="bpe", vocabulary=290, max_steps=20)
    pairs.fit(TEXT, progress=silent)
    text = "the cät 漢字 sat on 👩\u200d👧 the mat.\n" * 40
    sizes = characters_of(pairs.fitted.tokenizer)
    reading = read(pairs, text)
    assert sizes[reading.ids].sum() == len(text)
    found = coloured(write_language_report(tmp_path / "r.html", model=pairs, text=text).read_text("utf-8"))
    # Tokens that are a part of a character show with its last one.
    assert "漢字" in "".join(shown for _, _, shown in found)


@pytest.mark.skipif(browser.installed() is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_drawn_without_complaint_and_runs_nothing_of_its_text(model, tmp_path, width):
    hostile = LanguageModel(**SMALL, max_steps=30).fit((HOSTILE + " ") * 60, progress=silent)
    path = write_language_report(
        tmp_path / "r.html", model=hostile, text=(HOSTILE + "\n") * 30, title=HOSTILE, facts={HOSTILE: HOSTILE},
        adaptive={HOSTILE: hostile.score(HOSTILE)},
    )  # fmt: skip
    (tmp_path / "profile").mkdir()
    with browser.Browser(tmp_path / "profile") as chromium:
        chromium.open(path, width=width)
        assert chromium.value("document.documentElement.dataset.drawn") == "yes"
        assert chromium.value("document.querySelectorAll('.chart > svg').length") == 3
        assert HOSTILE in chromium.value("document.querySelector('.read').textContent").replace("⏎\n", "")
        assert chromium.value("document.documentElement.scrollWidth") <= width
        assert chromium.complaints == []
        assert chromium.requests == [path.resolve().as_uri()]
