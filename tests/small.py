"""Small tables and settings that several tests share."""

import numpy as np

SMALL = {"horizon": 12, "max_steps": 40, "hidden_size": 16, "batch_size": 64, "look_back": 48}


def table(rows: int = 400, series: int = 2, seed: int = 0, **columns: np.ndarray) -> dict[str, np.ndarray]:
    """A long table of hourly series: a daily wave on levels 10 apart, with noise and one covariate of each kind."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    parts = []
    for s in range(series):
        known = rng.standard_normal(rows)
        wave = 10 * s + (s + 1) * np.sin(2 * np.pi * (t + 5 * s) / 24)
        parts.append(
            {
                "unique_id": np.full(rows, f"s{s}", dtype=object),
                "ds": np.datetime64("2024-01-01T00", "s") + t * np.timedelta64(3600, "s"),
                "y": wave + 0.5 * known + 0.1 * rng.standard_normal(rows),
                "p": rng.standard_normal(rows),
                "f": known,
                "q": np.full(rows, float(s)),
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} | columns


def head(frame: dict[str, np.ndarray], keep: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[keep] for name, column in frame.items()}
