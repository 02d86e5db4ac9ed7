"""How long `import carrousel`, and what runs a saved model, take beyond NumPy's own import.

    python benchmarks/import_time.py

Fresh processes, the rivals in turn; the least time of each is what the import costs when nothing else runs.
"""

from __future__ import annotations

import platform
import subprocess
import sys

ROUNDS = 15
MODULES = ["numpy", "carrousel", "carrousel.artifact", "carrousel.engine", "carrousel.stream", "torch"]
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
    print(f"{platform.machine()}, Python {platform.python_version()}, least of {ROUNDS}\n")
    print("| import | ms | beyond NumPy, ms |\n|---|---:|---:|")
    for module in MODULES:
        least = min(times[module])
        print(f"| {module} | {least * 1e3:.0f} | {max(least - numpy, 0) * 1e3:.0f} |")


if __name__ == "__main__":
    main()
