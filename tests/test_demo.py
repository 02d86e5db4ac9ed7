"""The demo, run as a user runs it, only shorter."""

import numpy as np
import pytest

import carrousel
from carrousel.demo import run_demo


@pytest.mark.slow
def test_the_demo_leaves_a_report_and_a_model_that_forecasts(tmp_path):
    said: list[str] = []
    reports: list[object] = []
    page = run_demo(tmp_path / "demo", minutes=0.05, windows=2, progress=reports.append, echo=said.append)
    assert page == tmp_path / "demo" / "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["model", "report.html"]
    assert reports
    text = "\n".join(said)
    assert "licence CC0" in text
    assert f"Model   {page.parent / 'model'}" in text
    assert f"carrousel predict {page.parent / 'model'}" in text
    assert all(name in text for name in ("Carrousel", "Seasonal naive", "ETS", "Theta", "Ridge"))
    report = page.read_text("utf-8")
    assert "Measured on 6 test windows, each forecasting 24 steps (hourly)." in report
    assert "over 600 rows one after another" in report
    assert "Caution" not in report
    assert "<dd>up to 2013-10-20 23:00</dd>" in report
    assert "ten weeks, lengthened from five after their results had been seen" in report
    forecast = carrousel.load(page.parent / "model").predict()
    assert len(forecast["Carrousel"]) == 3 * 24
    assert forecast["time_hour"].min() == np.datetime64("2013-10-21T00:00:00")
