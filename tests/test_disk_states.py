"""Are the states that real losses of power leave among those of the simulation's models of a disk?"""

import os
from dataclasses import replace

import pytest

from ssq_stress.nemesis.power_loss import unavailable
from ssq_stress.power.disk_states import compare
from ssq_verify.simulation.disk import Disk
from ssq_verify.simulation.states import allows, found
from ssq_verify.simulation.surviving import Model
from ssq_verify.subject import load

BOTH = pytest.mark.parametrize("model", list(Model))


@pytest.fixture
def moved(tmp_path):
    """Give a folder, with the disk that follows it, in which a synced file was linked, and one written to."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"job")
    (root / "log").write_bytes(b"1")
    disk = Disk(root)
    (root / "b").hardlink_to(root / "a")
    disk.changed()
    with (root / "log").open("ab") as log:
        log.write(b"23")
    disk.changed()
    yield root, disk.past()
    disk.close()


@pytest.mark.scenario("power-loss/real-losses-are-among-the-states-of-the-models")
def test_models_contain_what_real_losses_leave(tmp_path):
    """After a real loss of the file queue the tree is one that both models allow, not always the barest."""
    if (reason := unavailable()) is not None:
        pytest.skip(f"not available: {reason}")
    compared = list(compare(load("file"), tmp_path, count=20))

    assert [each.seed for each in compared for model in Model if not each.is_allowed(model)] == []
    assert len(compared) == 20
    assert any(not each.is_whole for each in compared)
    assert any(not each.is_barest for each in compared)


@BOTH
def test_the_present_state_is_allowed(moved, model):
    """That nothing is lost is always a possible outcome."""
    root, past = moved

    assert allows(past, model, found(root))


@BOTH
def test_what_was_there_before_is_allowed(moved, model):
    """What was not synced may all be gone."""
    root, past = moved
    (root / "b").unlink()
    os.truncate(root / "log", 1)

    assert allows(past, model, found(root))


@BOTH
@pytest.mark.scenario("power-loss/a-state-that-no-model-allows")
@pytest.mark.parametrize("change", ["missing", "byte", "file", "copy"])
def test_a_state_that_never_was_is_not_allowed(moved, model, change):
    """A missing file, another byte, another file, a copy in place of a link: none of them is a loss."""
    root, past = moved
    if change == "missing":
        (root / "a").unlink()
    elif change == "byte":
        (root / "log").write_bytes(b"124")
    elif change == "file":
        (root / "c").write_bytes(b"")
    else:
        (root / "b").unlink()
        (root / "b").write_bytes(b"job")

    assert not allows(past, model, found(root))


@BOTH
def test_a_folder_is_no_file(moved, model):
    """A folder in a file's place is not allowed."""
    root, past = moved
    state = found(root)

    assert not allows(past, model, replace(state, contents={**state.contents, "log": None}))
