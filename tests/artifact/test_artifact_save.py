"""Models on disk: what is saved is read back to the bit, and whatever happens on the way leaves a whole model."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import stored
from carrousel import artifact
from carrousel.engine import Engine
from carrousel.errors import ArtifactError, ConfigError, WeightsError
from stored import make, refused, same


@pytest.mark.parametrize("context", [None, {}, {"rows": np.array([[True], [False]])}], ids=["none", "empty", "one"])
def test_a_model_is_read_back_to_the_bit(tmp_path, context):
    model = make(context=context)
    folder = artifact.save(tmp_path / "deep" / "model", model)
    back = artifact.read(folder)
    assert same(back, model)
    assert back.card == model.card
    expected = {"config.json", "model.safetensors", "README.md"} | (
        {"context.safetensors"} if context is not None else set()
    )
    assert {file.name for file in folder.iterdir()} == expected
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def test_config_says_what_others_look_for(saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["format_version"] == 1
    assert config["model_type"] == "carrousel"
    assert config["architectures"] == ["CarrouselForecaster"]
    assert config["architecture"]["layers"][0]["kind"] == "lstm"


def test_weights_load_into_torch_under_its_names(saved):
    import torch
    from safetensors.torch import load_file

    weights = {
        k.partition(".")[2]: v for k, v in load_file(saved / "model.safetensors").items() if k.startswith("head")
    }
    torch.nn.Linear(3, 1).load_state_dict(weights, strict=True)


def test_engine_loads_a_saved_model_and_gives_the_same_bits(saved):
    model = make()
    x = np.ones((1, 4, 2), np.float32)
    expected = Engine(model.architecture, model.weights).session().run(x)
    np.testing.assert_array_equal(Engine.load(saved).session().run(x), expected)


def test_a_model_runs_without_its_card(saved):
    (saved / "README.md").unlink()
    assert artifact.read(saved).card == ""


def test_save_asks_before_it_replaces_a_model(saved):
    with refused(
        ArtifactError, f"{saved}: a model is saved there already; choose another path, or pass overwrite=True"
    ):
        artifact.save(saved, make(1))
    assert same(artifact.read(saved), make())
    artifact.save(saved, make(1), overwrite=True)
    assert same(artifact.read(saved), make(1))
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


def test_save_takes_an_empty_folder(tmp_path):
    (tmp_path / "model").mkdir()
    assert same(artifact.read(artifact.save(tmp_path / "model", make())), make())


@pytest.mark.parametrize("overwrite", [False, True])
def test_save_never_touches_a_folder_with_anything_else_in_it(saved, tmp_path, overwrite):
    (saved / "notes.txt").write_text("mine")
    message = f"{saved}: expected an empty folder or a saved model, got one with 'notes.txt'; choose another path"
    with refused(ArtifactError, message):
        artifact.save(saved, make(1), overwrite=overwrite)
    assert (saved / "notes.txt").read_text() == "mine"
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("mine")
    message = f"{tmp_path / 'project'}: expected an empty folder or a saved model, got one with 'README.md'; "
    with refused(ArtifactError, message + "choose another path"):
        artifact.save(tmp_path / "project", make(), overwrite=overwrite)
    (tmp_path / "file").write_text("mine")
    with refused(ArtifactError, f"{tmp_path / 'file'}: expected a folder or nothing, got a file; choose another path"):
        artifact.save(tmp_path / "file", make(), overwrite=overwrite)


def test_save_through_a_link_keeps_the_link(saved, tmp_path):
    (tmp_path / "link").symlink_to(saved)
    artifact.save(tmp_path / "link", make(1), overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert same(artifact.read(saved), make(1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"statistics": {"mean": float("nan")}},
            ConfigError,
            "settings and statistics: expected JSON data with finite",
        ),
        ({"settings": {"mean": np.float32(1)}}, ConfigError, "settings and statistics: expected JSON data with finite"),
        ({"weights": {}}, WeightsError, "weights: missing tensor 'lstm.weight_ih_l0', expected (12, 2)"),
        (
            {"context": {"a": np.array(["x"])}},
            WeightsError,
            "a: expected one of float32, float64, int32, int64, uint8, bool, float16, int16, uint16, int8",
        ),
    ],
    ids=["NaN in statistics", "a NumPy number", "no weights", "strings"],
)
def test_save_refuses_what_could_not_be_read_back(tmp_path, change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        artifact.save(tmp_path / "model", make(**change))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_model_and_nothing_else(saved):
    """The limit on the size of a file stands in for the disk: the system refuses the write half-way."""
    script = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(stored.__file__).parent)!r})
        from stored import make
        from carrousel import artifact
        from carrousel.errors import ArtifactError
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        try:
            artifact.save({str(saved)!r}, make(1), overwrite=True)
        except ArtifactError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{saved}: could not be written (File too large); what stood there before is unchanged\n"
    assert same(artifact.read(saved), make())
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


def test_a_full_file_system_leaves_the_old_model_and_nothing_else(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        folder = artifact.save(disk / "model", make())
        big = make(card="x" * 100_000)
        with refused(
            ArtifactError,
            f"{folder}: could not be written (No space left on device); what stood there before is unchanged",
        ):
            artifact.save(folder, big, overwrite=True)
        assert same(artifact.read(folder), make())
        assert [file.name for file in disk.iterdir()] == ["model"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_process_killed_at_any_moment_of_saving_leaves_a_whole_model(saved):
    """Children kill themselves at their nth call to the system that syncs, renames or removes, for every n there is."""
    script = f"""
        import os, pathlib, shutil, signal, sys
        sys.path.insert(0, {str(Path(stored.__file__).parent)!r})
        from stored import make, same
        from carrousel import artifact, folder

        def save_and_die(left):
            def watched(function):
                def call(*arguments, **keywords):
                    nonlocal left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*arguments, **keywords)
                return call
            os.fsync, shutil.rmtree = watched(os.fsync), watched(shutil.rmtree)
            pathlib.Path.rename, folder._exchange = watched(pathlib.Path.rename), watched(folder._exchange)
            artifact.save({str(saved)!r}, make(1), overwrite=True)
            os._exit(0)

        for call in range(1, 99):
            child = os.fork()
            if not child:
                save_and_die(call)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            back = artifact.read({str(saved)!r})
            print(call, status, "old" if same(back, make()) else "new" if same(back, make(1)) else "neither")
            if status == 0:
                break
            artifact.save({str(saved)!r}, make(), overwrite=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    seen = [tuple(line.split()[1:]) for line in done.stdout.splitlines()]
    killed = str(-signal.SIGKILL)
    assert seen[-1] == ("0", "new")
    assert set(seen[:-1]) == {(killed, "old"), (killed, "new")}
    assert len(seen) >= 9  # four files, their folder, a rename, the exchange, the parent, the old folder
    assert [file.name for file in saved.parent.iterdir() if not file.name.startswith(".")] == ["model"]


def test_folders_change_places_in_two_steps_where_the_system_knows_no_exchange(saved, monkeypatch):
    monkeypatch.setattr("carrousel.folder._exchange", lambda fresh, path: False)
    artifact.save(saved, make(1), overwrite=True)
    assert same(artifact.read(saved), make(1))
    assert [file.name for file in saved.parent.iterdir()] == ["model"]
