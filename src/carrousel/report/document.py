"""The file that a report is: one page with its style, its scripts and its data in it, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from carrousel.data.file import write_whole


def write_page(
    path: str | Path, *, title: str, subtitle: str, body: Sequence[str], data: Mapping[str, Any], footer: str
) -> Path:
    """Write a page; it loads nothing from anywhere, and refuses to.

    Parameters
    ----------
    path : the file, replaced if it is there; its folder is made
    title, subtitle, footer : plain text
    body : sections, HTML
    data : "figures", by the names of their places, and "viewer" or None

    Raises
    ------
    OSError : it could not be written; what stood there is unchanged
    """
    here = files("carrousel.report")
    scripts = {name: (here / f"{name}.js").read_text("utf-8") for name in ("chart", "viewer")}
    text = Template((here / "page.html").read_text("utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        hashes=" ".join(_hash(script) for script in scripts.values()),
        style=(here / "style.css").read_text("utf-8"),
        body="\n".join(body),
        data=_json(data),
        footer=escape(footer),
        **scripts,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    return path


def _hash(script: str) -> str:
    """What the page's policy allows to run: these very scripts, so that nothing a table holds can be one."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(data: Any) -> str:
    """JSON that can stand inside a script element, whatever strings it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
