"""How long `import carrousel`, and what runs a saved model, take beyond NumPy's own import.

    python benchmarks/import_time.py

Fresh processes, the modules in turn; the least time of each is what the import costs when nothing else runs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

import page

ROUNDS = 15
MODULES = [
    "numpy",
    "carrousel",
    "carrousel.artifact",
    "carrousel.engine",
    "carrousel.stream",
    "carrousel.tasks.forecast",
    "torch",
]
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    done = subprocess.run([sys.executable, "-c", CODE.format(module)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    for module in MODULES:  # the first import of all writes bytecode and fills the page cache
        seconds(module)
    times = {module: [] for module in MODULES}
    for _ in range(ROUNDS):
        for module in MODULES:
            times[module].append(seconds(module))
    numpy = min(times["numpy"])
    rows = [
        [
            f"`{module}`",
            f"{1e3 * min(taken):.0f}",
            f"{1e3 * statistics.median(taken):.0f}",
            f"{1e3 * max(min(taken) - numpy, 0):.0f}",
        ]
        for module, taken in times.items()
    ]
    text = (
        f"Each import in {ROUNDS} fresh processes, the modules in turn; files were in the page cache and bytecode was "
        "written. The least time is what the import costs when nothing else runs. `carrousel` alone loads nothing, "
        "NumPy included, before one of its names is used; `Forecaster` lives in `carrousel.tasks.forecast`."
    )
    page.write(
        "import_time",
        "Time of an import",
        [text, page.table(["import", "least, ms", "median, ms", "least beyond NumPy, ms"], rows)],
        packages=("carrousel", "numpy", "torch"),
    )


if __name__ == "__main__":
    main()
