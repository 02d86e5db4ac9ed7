"""A model on disk for each test."""

from pathlib import Path

import pytest

from carrousel import artifact
from stored import make


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return artifact.save(tmp_path / "model", make())
