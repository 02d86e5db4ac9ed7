"""The report about a detector: what it found and why, whether its promise holds, and what naive ones would do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carrousel.tasks.detect_evaluate import Evaluation
from carrousel.tasks.detect_table import Judged

from . import detect_page, fact
from .document import write_page
from .figure import when
from .page import Figures, tiles

if TYPE_CHECKING:
    from carrousel.tasks.detect import Detector


def write_detect_report(
    path: str | Path,
    *,
    detector: Detector,
    judged: Judged | None = None,
    evaluation: Evaluation | None = None,
    title: str = "Anomalies",
    artifact: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write one HTML file with everything in it; it loads nothing from anywhere, and refuses to.

    Parameters
    ----------
    path : the file, replaced if it is there; its folder is made
    detector : whose
    judged : a table that it judged; may be left out with `evaluation`
    evaluation : the same beside labels and naive detectors; without it the report says nothing about right and wrong
    title : plain text
    artifact : folder of the saved detector, for its size on disk
    facts : more to say about the data, name -> plain text

    Raises
    ------
    OSError : it could not be written; what stood there is unchanged
    ValueError : neither judged rows nor an evaluation
    """
    seen = judged if evaluation is None else evaluation.judged
    if seen is None:
        raise ValueError("write_detect_report: expected judged rows or an evaluation, got neither")
    figures: Figures = {}
    body = [
        detect_page.verdict(seen, evaluation),
        tiles(detect_page.tile_items(seen, evaluation)),
        detect_page.series_section(seen, evaluation, figures),
        detect_page.incidents(seen, evaluation, figures),
        "" if evaluation is None else detect_page.scores(evaluation),
        "" if evaluation is None else detect_page.promise(evaluation, figures),
        "" if evaluation is None else detect_page.calibrated(evaluation, figures),
        detect_page.about(detector, seen, evaluation, None if artifact is None else Path(artifact), dict(facts or {})),
    ]
    return write_page(
        path,
        title=title,
        subtitle=_subtitle(seen),
        body=body,
        data={"figures": figures, "viewer": None},
        footer=fact.versions(),
    )


def _subtitle(judged: Judged) -> str:
    count = len(judged.ids)
    names = "" if len(judged.variables) == 1 else f" of {len(judged.variables)} variables"
    return (
        f"{count:,} series{names}, {len(judged.ds):,} rows, {when(judged.ds.min())} to {when(judged.ds.max())}; every "
        "row judged when only those before it were known"
    )
