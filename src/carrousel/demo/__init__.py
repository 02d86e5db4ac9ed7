"""Demos on real data, one file a task: from table to model, to a live stream, to a report, on a laptop."""

from carrousel.demo.detect import run_detect_demo
from carrousel.demo.forecast import run_demo, stream_latency

__all__ = ["run_demo", "run_detect_demo", "stream_latency"]
