"""``carrousel data list``."""

from __future__ import annotations

from carrousel.cli._output import print_rows

EXAMPLES = ("carrousel data list",)


def command() -> None:
    """Name the public data sets, with their licence and where they come from."""
    from carrousel.data.public import SETS

    print_rows(
        ("name", "title", "horizon", "licence", "source"),
        [(name, s.title, str(s.horizon or ""), s.licence, s.source) for name, s in SETS.items()],
    )
