from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cli.program import HORIZON, QUICK, ROWS, demand, process, write


@pytest.fixture(scope="session", autouse=True)
def _heed_interrupts() -> None:
    """What a shell starts in the background ignores them, and so would every program that is started here."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, and a model of two shops in runs/shops."""
    home = tmp_path_factory.mktemp("cli")
    plain = [{k: v for k, v in row.items() if k != "offer"} for s in ("north", "south") for row in demand(s, 0, ROWS)]
    write(home / "shops.csv", plain)
    write(home / "offers.csv", demand("north", 0, ROWS) + demand("south", 0, ROWS))
    later = [row for s in ("north", "south") for row in demand(s, ROWS, ROWS + HORIZON)]
    write(home / "ahead.csv", [{k: v for k, v in row.items() if k != "y"} for row in later])
    done = process(
        "train", "forecast", "shops.csv", "--horizon", HORIZON, "--id", "shop", *QUICK, "-o", "runs/shops", cwd=home
    )
    assert done.code == 0, done.err
    (home / "training.out").write_text(done.out)
    (home / "training.err").write_text(done.err)
    return home
