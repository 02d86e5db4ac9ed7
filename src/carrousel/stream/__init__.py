"""Rows come one at a time, answers go out: forecasts decoded over an engine session, events of a detector.

``forecast.py`` is for forecasts. For events, ``record.py`` reads a row, ``arrival.py`` keeps the books of when rows
come, ``streams.py`` and, for a single one, ``detect.py`` feed the detector and make ``event.py`` of its readings,
``rows.py`` reads tables of rows, and ``store.py`` keeps the state of it all.
"""

from __future__ import annotations

from carrousel.stream.arrival import Rules
from carrousel.stream.detect import DetectStream
from carrousel.stream.event import Cause, Event, Incident, Trend
from carrousel.stream.forecast import (
    INNER_QUANTILES,
    Forecast,
    ForecastStream,
    WindowDecoder,
    forecast_columns,
    quantiles_of,
    tails,
)
from carrousel.stream.streams import Streams

__all__ = [
    "INNER_QUANTILES",
    "Cause",
    "DetectStream",
    "Event",
    "Forecast",
    "ForecastStream",
    "Incident",
    "Rules",
    "Streams",
    "Trend",
    "WindowDecoder",
    "forecast_columns",
    "quantiles_of",
    "tails",
]
