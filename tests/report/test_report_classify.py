"""The report about a classifier: its numbers are those of the evaluation, and no text of the data becomes a script."""

from __future__ import annotations

import numpy as np
import pytest
from tests.reported import HOSTILE, lead, read

from carrousel.report.classify import write_classify_report
from carrousel.tasks.classify import Classifier
from carrousel.tasks.classify_evaluate import ClassifyEvaluation
from carrousel.training import silent

TEXTS = [f"who met {name} ?" for name in "abcde"] + [f"where is {place} ?" for place in "vwxyz"]
LABELS = ["<person>"] * 5 + ["place & time"] * 5


@pytest.fixture(scope="module")
def model() -> Classifier:
    return Classifier(hidden_size=8, ensemble=1, max_steps=30).fit(TEXTS, LABELS, progress=silent)


def evaluation(right: int = 7) -> ClassifyEvaluation:
    """Ten examples, of which some are right, the first ones with a probability of 0.9 and 0.7 the last ones."""
    truth = np.arange(10) % 2
    said = np.where(np.arange(10) < right, truth, 1 - truth)
    sure = np.where(np.arange(10) < 5, 0.9, 0.7)
    own = np.where(np.arange(2) == said[:, None], sure[:, None], 1 - sure[:, None])
    other = np.where(np.arange(2) == truth[:, None], 0.8, 0.2)
    other[8:] = other[8:, ::-1]
    return ClassifyEvaluation(
        classes=("<person>", "place & time"),
        truth=truth,
        probabilities={"Carrousel": own, "naive Bayes": other, "class shares": np.full((10, 2), 0.5)},
        uncalibrated=0.125,
        names=(HOSTILE, *(f"text {k}" for k in range(1, 10))),
    )


def test_the_report_says_what_the_evaluation_says(model, tmp_path):
    found = model.evaluate(TEXTS, LABELS)
    artifact = model.save(tmp_path / "run")
    text, page, _ = read(
        write_classify_report(tmp_path / "r.html", classifier=model, evaluation=found, artifact=artifact, title="T")
    )
    assert f"of {len(TEXTS)} examples" in lead(text)
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["Carrousel"][1] == f"{found.macro_f1:.3g}" or float(rows["Carrousel"][1]) == found.macro_f1
    assert "in the folder run" in text
    assert page.loads == []


def test_a_better_baseline_stands_in_the_headline(model, tmp_path):
    text, page, data = read(write_classify_report(tmp_path / "r.html", classifier=model, evaluation=evaluation()))
    assert lead(text).startswith("Right in 70% of 10 examples; naive Bayes in 80%")
    assert 'class="verdict bad"' in text
    assert "The baseline is better here." in text
    rows = page.rows
    assert ["<person>", "4", "1", "80%", "0.727"] in rows  # 2·4 / (5 + 6)
    assert ["place & time", "2", "3", "60%", "0.667"] in rows  # 2·3 / (5 + 4)
    wrong = [row[1:] for row in rows if row[1:3] == ["place & time", "<person>"]]
    assert wrong == [["place & time", "<person>", "70%"]] * 2
    assert text.index("text 7<") < text.index("text 9<")
    line = data["figures"]["reliability"]["marks"][1]
    assert line["x"] == [0.7, 0.9]
    assert line["y"] == [0.4, 1.0]
    assert sum(data["figures"]["confidence"]["marks"][0]["y"]) == 10


def test_hostile_texts_and_no_errors_at_all_are_shown(model, tmp_path):
    text, page, _ = read(
        write_classify_report(tmp_path / "r.html", classifier=model, evaluation=evaluation(0), title=HOSTILE)
    )
    assert "<script>alert" not in text
    assert page.loads == []
    text, _, _ = read(write_classify_report(tmp_path / "r.html", classifier=model, evaluation=evaluation(10)))
    assert "It made none." in text
    assert 'class="verdict"' in text
