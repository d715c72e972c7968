"""What is a power loss asked, and what does it leave durable? The same choices each time, and no idle one."""

import os
import stat

import pytest

from power_losses import BOTH, Program, moved, noting, plainest, tapes
from ssq_verify.simulation.disk import Disk
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.surviving import Model

ONLY_SYNCED = 1


def snapshot(root):
    """Return all that a program could see of a tree, but for the inodes' numbers."""
    paths = sorted(root.rglob("*"))
    firsts = {path.lstat().st_ino: path for path in reversed(paths)}
    return {
        path: (
            firsts[path.lstat().st_ino],
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            None if stat.S_ISDIR(path.lstat().st_mode) else path.read_bytes(),
        )
        for path in paths
    }


@BOTH
def test_plainest_choice_leaves_everything_as_it_was(program, model):
    """With 0 for each choice, contents, hard links, symbolic links, modes and times are what they were."""
    program.call(os.mkdir, "todo")
    program.write("todo/a", b"job")
    program.call(os.link, "todo/a", "second")
    program.call(lambda path: path.symlink_to("todo/a"), "link")
    program.call(lambda path: path.chmod(0o640), "todo/a")
    program.call(lambda path: os.utime(path, ns=(1, 2)), "todo")
    before = snapshot(program.root)

    program.lose(model, plainest)

    assert snapshot(program.root) == before
    assert program.root.joinpath("second").stat().st_nlink == 2


@BOTH
def test_state_with_only_what_was_synced_is_one_answer_away(program, model):
    """The first choice alone can undo everything that was not synced."""
    moved(program)
    program.write("todo/b", b"job")
    kinds = []

    def choose(kind, _options):
        kinds.append(kind)
        return ONLY_SYNCED

    program.lose(model, choose)

    assert kinds == ["power loss"]
    assert [path.name for path in sorted(program.root.rglob("*"))] == ["done", "todo", "a"]


@BOTH
def test_where_all_is_synced_there_is_no_choice(program, model):
    """A power loss after an fsync of everything takes nothing and asks nothing."""
    program.write("a", b"job")
    program.fsync("a", ".")

    def choose(kind, options):
        raise AssertionError(kind, options)

    assert program.disk.lose(model, choose).tree() == {"a": b"job"}


@BOTH
def test_what_survived_is_durable(program, model):
    """A second power loss takes nothing of what the first has left."""
    program.write("a", b"job")
    program.lose(model, plainest)
    assert program.states(model) == [{"a": b"job"}]
    assert program.disk._events == []

    program.write("b", b"")

    assert program.states(model) == [{"a": b"job", "b": b""}, {"a": b"job"}]


@BOTH
def test_same_changes_give_the_same_choices(tmp_path, model):
    """Two runs of one program are asked the same questions in the same words."""
    asked = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        program = Program(tmp_path / name)
        moved(program)
        program.write("b", b"x" * 100)
        for choose in tapes():
            program.disk.lose(model, noting(asked, choose))
        program.disk.close()

    middle = len(asked) // 2
    assert asked[:middle] == asked[middle:]


def test_looking_only_where_a_call_was_finds_what_looking_everywhere_does(tmp_path):
    """Told of the folders and files that a call touched, the disk notes the same as without."""
    told, untold = Disk(tmp_path), Disk(tmp_path)

    def changed(*touched):
        told.changed(*touched)
        untold.changed()

    (tmp_path / "todo/a").mkdir(parents=True)
    changed("")
    file = tmp_path / "todo/a/file"
    file.write_bytes(b"job")
    changed("todo/a")
    file.write_bytes(b"JOB")
    changed(file.stat().st_ino)
    os.truncate(file, 1)
    changed("todo/a")
    file.rename(tmp_path / "file")
    changed("todo/a", "")

    assert told._events == untold._events
    assert len(told._events) == 8
    told.close()
    untold.close()


def test_folder_that_is_not_known_makes_the_disk_look_everywhere(program):
    """A path that leads to no folder of the tree, such as a link's, is no reason to miss a change."""
    program.call(os.mkdir, "todo")
    program.call(lambda path: path.symlink_to("todo"), "link")
    program.root.joinpath("link/a").write_bytes(b"job")

    program.disk.changed("link")

    assert program.disk.lose(Model.POSIX, plainest).tree()["todo/a"] == b"job"


def test_fifo_is_not_simulatable(program):
    """A tree with something that has no content to lose is refused with its name."""
    os.mkfifo(program.root / "pipe")

    with pytest.raises(NotSimulatable, match="pipe"):
        program.disk.changed()
