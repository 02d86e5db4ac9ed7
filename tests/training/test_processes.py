"""Several processes that train one network together."""

import os
import subprocess
import sys
from pathlib import Path

import learner
import pytest
import torch
from learner import Windows, assert_same_bits, loss, network, settings, validate, weights
from safetensors.torch import load_file

from carrousel.errors import SettingError
from carrousel.training import silent, train
from carrousel.training.batch import Plan


def test_two_processes_end_with_the_same_weights_as_one(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launch, learner.__file__, "shared", str(tmp_path)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    both = [load_file(tmp_path / f"process-{process}-of-2") for process in (0, 1)]
    assert_same_bits(*both)
    # 300 examples in batches of at most 29 are batches of 27 and 28: shares of 13 and 14.
    alone, start = network(dropout=0.0), network(dropout=0.0)
    train(alone, Windows(), loss, validate, settings(batch_size=29), progress=silent)
    for name, tensor in weights(alone).items():
        # Sums in another order, then AdamW, whose first steps divide gradients by their own size: 1e-4 of the way.
        way = float((tensor - start.state_dict()[name]).abs().max())
        torch.testing.assert_close(both[0][name], tensor, rtol=0, atol=1e-4 * way)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_every_batch_and_their_weighted_means_average_to_its_mean(processes: int) -> None:
    windows, device = Windows(count=101), torch.device("cpu")
    alone = Plan(windows, 20, 7, 0, 1, device)
    plans = [Plan(windows, 20, 7, process, processes, device) for process in range(processes)]
    for step in range(2 * alone.steps_per_epoch):
        whole = alone[step][0].tolist()
        shares = [plan[step] for plan in plans]
        assert sorted(torch.cat([index for index, _, _ in shares]).tolist()) == sorted(whole)
        means = [weight * float(index.float().mean()) for index, weight, _ in shares]
        assert sum(means) / processes == pytest.approx(sum(whole) / len(whole), rel=1e-6)
        assert len({seed for _, _, seed in shares}) == processes


def test_batch_too_small_to_share_is_refused() -> None:
    with pytest.raises(SettingError, match="batch_size: expected at least one example for each of 4 processes"):
        Plan(Windows(), 3, 0, 0, 4, torch.device("cpu"))
