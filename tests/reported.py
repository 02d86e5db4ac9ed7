"""Backtests whose scores are known beforehand, and reports taken apart."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from carrousel.data.frequency import Frequency
from carrousel.data.panel import Panel
from carrousel.report import write_report
from carrousel.tasks.backtest import Backtest, mase_scales, truth
from carrousel.tasks.forecast import Forecaster

HOSTILE = "<script>alert('x')</script> & \"co\" </script>"


def synthetic(*, series: int = 2, targets: int = 1, windows: int = 5, horizon: int = 4, names: str = "s") -> Backtest:
    """A backtest whose own forecast is off by 1, its naive one by 2, and whose bands reach 1.5 and 3 to each side."""
    rows = 40 + windows
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(rows) / 3)[None, :, None] + rng.standard_normal((series, rows, targets))
    panel = Panel(
        ids=tuple(f"{names}{s}" for s in range(series)),
        starts=np.arange(series + 1) * rows,
        ds=np.tile(np.datetime64("2024-01-01", "s") + np.arange(rows) * np.timedelta64(3600, "s"), series),
        target=wave.reshape(-1, targets),
        past=np.empty((series * rows, 0)),
        future=np.empty((series * rows, 0)),
        static=np.empty((series, 0)),
        target_names=tuple(f"t{k}" for k in range(targets)),
    )
    owner = np.repeat(np.arange(series), windows)
    origins = np.tile(40 - horizon + np.arange(windows), series)
    y = truth(panel, owner, origins, horizon)
    stamps = panel.ds[(panel.starts[owner] + origins)[:, None] + np.arange(-1, horizon)]
    own = y + np.where(np.arange(len(y)) % 2, 1.0, -1.0)[:, None, None]
    return Backtest(
        panel=panel,
        frequency=Frequency.parse("h"),
        season=24,
        horizon=horizon,
        levels=(50.0, 90.0),
        series=owner,
        origins=origins,
        ds=stamps[:, 1:],
        cutoff=stamps[:, 0],
        y=y,
        forecasts={"Carrousel": own, "naive": y + 2, "seasonal_naive": y - 4, "ridge": y + 1.5},
        quantiles=(0.05, 0.25, 0.5, 0.75, 0.95),
        quantile_forecasts=own[..., None] + np.array([-3.0, -1.5, 0.0, 1.5, 3.0]),
        scale=mase_scales(panel, owner, origins, 1),
    )


class Page(HTMLParser):
    """Tags that are open and closed, attributes that load something, and the rows of every table."""

    VOID = ("meta", "input", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "tags that were never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.loads += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def read(path: Path) -> tuple[str, Page, dict]:
    """The text of a report, its parsed tags, and the data of its figures."""
    text = path.read_text("utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    return text, Page(text), json.loads(data[1])


def lead(text: str) -> str:
    found = re.search(r'<p class="lead">(.*?)</p>', text)
    assert found is not None
    return found[1]


def written(folder: Path, model: Forecaster, backtest: Backtest, **options: object) -> tuple[str, Page, dict]:
    return read(write_report(folder / "r.html", forecaster=model, backtest=backtest, **options))
