"""The detector's demo, run as a user runs it, only shorter."""

import json
import os
import re

import pytest

import carrousel
from carrousel.demo import run_detect_demo

NAME = "ambient_temperature_system_failure"


@pytest.mark.skipif("CARROUSEL_DATA" not in os.environ, reason="needs the public sets")
def test_the_demo_leaves_a_report_and_a_detector_that_goes_on(tmp_path):
    said: list[str] = []
    (page,) = run_detect_demo(tmp_path / "demo", minutes=0, series=[NAME], echo=said.append)
    assert page == tmp_path / "demo" / f"{NAME}.html"
    text = "\n".join(said)
    assert "1,090 rows to fit to, 6,177 to watch" in text
    assert all(name in text for name in ("Carrousel", "rolling deviation", "last value", "range"))
    assert "Promised 1.00 false alarms a week, met " in text
    (row,) = re.findall(r"echo '(.*)' \| carrousel stream", text)
    report = page.read_text("utf-8")
    assert "Found 2 of 2 labelled anomalies" in report
    detector = carrousel.load(page.with_suffix(""))
    stream = detector.stream()
    begun = int(text.partition(" incidents, row by row")[0].rpartition(" ")[2])
    assert report.count('<th scope="row">') > begun > 0
    assert str(stream.newest) == "2013-08-19T17:00:00"
    assert stream.update(json.loads(row)).notes == ()
