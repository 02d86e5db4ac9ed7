"""The report in a browser: it draws, answers, complains of nothing and runs nothing but itself."""

import re

import pytest

import browser
from carrousel.metrics import mae
from carrousel.report import write_report
from carrousel.report.evidence import digits
from reported import HOSTILE, read, synthetic

pytestmark = pytest.mark.skipif(browser.installed() is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_drawn_without_complaint_and_without_scrolling_sideways(chromium, page, width):
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(page, width=width)
    assert chromium.value("document.documentElement.dataset.drawn") == "yes"
    assert chromium.value("document.querySelectorAll('.chart > svg').length") == 9
    assert chromium.value("document.querySelectorAll('.chart path.line.s-carrousel').length") >= 6
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.complaints == []
    assert chromium.requests == [page.resolve().as_uri()]


def test_choosing_series_and_origin_shows_that_window(chromium, page):
    chromium.open(page)
    _, _, data = read(page)
    line = data["viewer"]["lines"][1]

    def shown() -> str:
        return chromium.value("document.querySelector('[data-part=window]').textContent")

    def do(part: str, action: str) -> None:
        chromium.value(f"(e => {{ {action} }})(document.querySelector('[data-part={part}]'))")

    do("series", "e.value = 1; e.dispatchEvent(new Event('change'))")
    assert shown() == line["windows"][line["picks"]["typical"]]["text"]
    do("worst", "e.click()")
    assert shown() == line["windows"][line["picks"]["worst"]]["text"]
    do("origin", "e.value = 0; e.dispatchEvent(new Event('input'))")
    assert shown() == line["windows"][0]["text"]
    do("later", "e.click()")
    assert shown() == line["windows"][1]["text"]
    drawn = "document.querySelector('#viewer .chart path.line.s-carrousel').getAttribute('d')"
    before = chromium.value(drawn)
    do("later", "e.click()")
    assert chromium.value(drawn) != before


def test_pointing_at_a_figure_tells_the_numbers(chromium, page, result):
    chromium.open(page)
    chromium.value(
        "(s => { const b = s.getBoundingClientRect(); s.dispatchEvent(new PointerEvent('pointermove',"
        " { clientX: b.right - 14, clientY: b.top + 50 })); })(document.querySelector('#by-step > svg'))"
    )
    tip = chromium.value("document.querySelector('#by-step .tip').innerText")
    last = mae(result.y[:, -1], result.forecasts["Carrousel"][:, -1])
    assert tip.startswith("12 steps ahead")
    assert re.search(rf"Carrousel\s+{re.escape(digits(last))}", tip)


def test_a_hostile_name_is_shown_as_it_is_and_runs_nothing(chromium, model, tmp_path):
    write_report(tmp_path / "r.html", forecaster=model, backtest=synthetic(names=HOSTILE), title=HOSTILE)
    chromium.complaints.clear()
    chromium.open(tmp_path / "r.html")
    assert chromium.value("document.querySelector('[data-part=series] option').textContent") == f"{HOSTILE}0"
    assert chromium.value("document.querySelector('h1').textContent") == HOSTILE
    assert chromium.complaints == []
