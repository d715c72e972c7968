"""What may be left after a power loss, in each model of a disk, and what must never be?"""

import os
import stat

import pytest

from ssq_verify.simulation.disk import Disk, Model
from ssq_verify.simulation.point import NotSimulatable

BOTH = pytest.mark.parametrize("model", list(Model))
ONLY_SYNCED = 1


class Program:
    """Does real calls and tells the disk of each."""

    def __init__(self, root):
        self.root = root
        self.disk = Disk(root)

    def write(self, name, data, *, how=os.O_CREAT | os.O_APPEND):
        """Open a file, creating it if need be, and write to it."""
        fd = os.open(self.root / name, os.O_WRONLY | how)
        self.disk.changed()
        os.write(fd, data)
        self.disk.changed(os.fstat(fd).st_ino)
        os.close(fd)

    def fsync(self, *names):
        """Sync files or folders."""
        for name in names:
            self.disk.synced((self.root / name).stat().st_ino)

    def call(self, call, *names):
        """Do one call on paths within the root."""
        call(*(self.root / name for name in names))
        self.disk.changed()

    def states(self, model):
        """Return all trees that a power loss may leave."""
        found = []
        for choose in tapes():
            tree = self.disk.lose(model, choose).tree()
            if tree not in found:
                found.append(tree)
        return found

    def lose(self, model, choose):
        """Take the power away."""
        self.disk.restore(self.disk.lose(model, choose))


@pytest.fixture
def program(tmp_path):
    """Give a program with an empty, durable folder."""
    root = tmp_path / "root"
    root.mkdir()
    program = Program(root)
    yield program
    program.disk.close()


def tapes():
    """Yield choosers that together give all sequences of answers."""
    prefix = []
    while prefix is not None:
        widths = []

        def choose(_kind, options, prefix=prefix, widths=widths):
            widths.append(len(options))
            return prefix[len(widths) - 1] if len(widths) <= len(prefix) else 0

        yield choose
        answers = [*prefix, *[0] * (len(widths) - len(prefix))]
        while answers and answers[-1] + 1 == widths[len(answers) - 1]:
            answers.pop()
        prefix = [*answers[:-1], answers[-1] + 1] if answers else None


def plainest(_kind, _options):
    """Answer 0."""
    return 0


def noting(asked, choose):
    """Return a chooser that notes what it is asked."""

    def note(kind, options):
        asked.append((kind, *options))
        return choose(kind, options)

    return note


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
def test_new_entry_may_vanish(program, model):
    """A file that was created and not synced may be gone."""
    program.write("a", b"job")

    assert {} in program.states(model)
    assert {"a": b"job"} in program.states(model)


@BOTH
def test_synced_file_in_synced_folder_never_vanishes(program, model):
    """Once a file and its folder are synced, no later unsynced change takes it away or tears it."""
    program.write("a", b"job")
    program.fsync("a", ".")
    program.write("b", b"other")
    program.call(os.rename, "b", "c")

    assert all(tree["a"] == b"job" for tree in program.states(model))
    assert {"a": b"job"} in program.states(model)


@BOTH
def test_removal_that_is_synced_never_comes_back(program, model):
    """An entry whose removal is synced is gone in every state."""
    program.write("a", b"job")
    program.fsync("a", ".")
    program.call(os.unlink, "a")
    assert {"a": b"job"} in program.states(model)

    program.fsync(".")

    assert program.states(model) == [{}]


@BOTH
def test_rename_of_unsynced_file_may_leave_it_empty(program, model):
    """Create, write, rename, sync the folder: the name is durable, the content may be none, torn or whole."""
    program.write("tmp", b"job")
    program.call(os.rename, "tmp", "a")
    program.fsync(".")

    states = program.states(model)

    assert [tree["a"] for tree in states if tree["a"].strip(b"\0")] == [b"job", b"jo", b"j"]
    assert {"a": b""} in states
    assert all(tree.keys() == {"a"} for tree in states)


def test_size_may_reach_a_posix_disk_before_data(program):
    """In posix a written file may have its size and read as zeros; in ordered, data come before size."""
    program.write("a", b"job")

    assert {"a": b"\0\0\0"} in program.states(Model.POSIX)
    assert {"a": b"\0\0\0"} not in program.states(Model.ORDERED)


def test_file_synced_before_its_rename_is_whole_under_either_name(program):
    """Create, write, fsync, rename: the file has one of the names and is whole; in posix it may have none."""
    program.write("tmp", b"job")
    program.fsync("tmp")
    program.call(os.rename, "tmp", "a")

    assert program.states(Model.ORDERED) == [{"a": b"job"}, {"tmp": b"job"}]
    assert program.states(Model.POSIX) == [{"a": b"job"}, {}, {"tmp": b"job"}]


@BOTH
def test_rename_within_a_folder_is_atomic(program, model):
    """A replaced file is the old one or the new one, never missing; the new one never has both names."""
    program.write("a", b"old")
    program.write("tmp", b"new")
    program.fsync("a", "tmp", ".")
    program.call(os.replace, "tmp", "a")

    assert program.states(model) == [{"a": b"new"}, {"a": b"old", "tmp": b"new"}]


@BOTH
def test_renames_in_a_row_leave_exactly_one_name(program, model):
    """A file renamed twice within a folder is under one of its three names."""
    program.write("a", b"job")
    program.fsync("a", ".")
    program.call(os.rename, "a", "b")
    program.call(os.rename, "b", "c")

    assert program.states(model) == [{"c": b"job"}, {"a": b"job"}, {"b": b"job"}]


def moved(program):
    """Move a durable file between two durable folders."""
    program.call(os.mkdir, "todo")
    program.call(os.mkdir, "done")
    program.write("todo/a", b"job")
    program.fsync("todo/a", "todo", "done", ".")
    program.call(os.rename, "todo/a", "done/a")


def test_rename_between_folders_is_one_change_of_a_journal(program):
    """In ordered a file that was moved is in one of the two folders."""
    moved(program)
    folders = {"todo": None, "done": None}

    assert program.states(Model.ORDERED) == [{**folders, "done/a": b"job"}, {**folders, "todo/a": b"job"}]


def test_rename_between_folders_may_be_half_done_in_posix(program):
    """In posix a file that was moved may be in either folder, in both and in none."""
    moved(program)
    paths = [set(tree) - {"todo", "done"} for tree in program.states(Model.POSIX)]

    assert len(paths) == 4
    assert {frozenset(each) for each in paths} == {
        frozenset(), frozenset({"todo/a"}), frozenset({"done/a"}), frozenset({"todo/a", "done/a"}),
    }  # fmt: skip


def test_half_done_rename_leaves_two_names_of_one_file(program):
    """Where both names survive they are hard links of one file."""
    moved(program)
    left = [program.disk.lose(Model.POSIX, choose) for choose in tapes()]

    program.disk.restore(next(each for each in left if {"todo/a", "done/a"} <= each.tree().keys()))

    assert program.root.joinpath("todo/a").samefile(program.root / "done/a")


def test_half_moved_folder_is_under_one_of_its_names(program):
    """A folder has one name, whichever half of its move between folders is missing."""
    for name in ("from", "to", "from/folder"):
        program.call(os.mkdir, name)
    program.write("from/folder/a", b"job")
    program.fsync("from/folder/a", "from/folder", "from", "to", ".")
    program.call(os.rename, "from/folder", "to/folder")

    places = [[path for path in tree if path.endswith("/a")] for tree in program.states(Model.POSIX)]

    assert sorted(map(len, places)) == [0, 1, 1]


def test_moved_file_may_be_lost_if_only_the_folder_that_it_left_is_synced(program):
    """In posix syncing the source alone may lose the file; syncing the target first never does."""
    moved(program)
    program.fsync("todo")
    assert {"todo": None, "done": None} in program.states(Model.POSIX)

    program.fsync("done")

    assert program.states(Model.POSIX) == [{"todo": None, "done": None, "done/a": b"job"}]


def unlinked_then_renamed(program):
    """Remove a durable file, then rename another in the same folder."""
    program.write("a", b"first")
    program.write("b", b"second")
    program.fsync("a", "b", ".")
    program.call(os.unlink, "a")
    program.call(os.rename, "b", "c")


def test_journal_keeps_the_order_of_changes(program):
    """In ordered a rename never survives where an earlier removal is undone."""
    unlinked_then_renamed(program)

    assert program.states(Model.ORDERED) == [
        {"c": b"second"},
        {"a": b"first", "b": b"second"},
        {"b": b"second"},
    ]


def test_posix_keeps_no_order_of_changes(program):
    """In posix each of two changes survives or not, whichever came first."""
    unlinked_then_renamed(program)

    states = program.states(Model.POSIX)

    assert len(states) == 4
    assert {"a": b"first", "c": b"second"} in states


def test_any_fsync_commits_the_journal_and_nothing_else_in_posix(program):
    """In ordered a truncation is durable after any fsync, the old content gone; posix may bring it back."""
    program.write("other", b"")
    program.write("a", b"job")
    program.fsync("other")

    assert all("a" in tree for tree in program.states(Model.ORDERED))
    assert any(tree["a"] == b"" for tree in program.states(Model.ORDERED))
    assert {} in program.states(Model.POSIX)


def test_fsync_of_a_file_leaves_its_entry_in_posix_unsynced(program):
    """In posix a file that was synced is whole where its entry survived, and may have none."""
    program.write("a", b"job")
    program.fsync("a")

    assert program.states(Model.POSIX) == [{"a": b"job"}, {}]
    assert program.states(Model.ORDERED) == [{"a": b"job"}]


def test_new_folder_takes_what_is_in_it_along(program):
    """In posix a synced file in a synced folder is gone with the folder's own entry until that is synced."""
    program.call(os.mkdir, "todo")
    program.write("todo/a", b"job")
    program.fsync("todo/a", "todo")
    assert {} in program.states(Model.POSIX)

    program.fsync(".")

    assert program.states(Model.POSIX) == [{"todo": None, "todo/a": b"job"}]


@BOTH
def test_append_never_takes_synced_content_away(program, model):
    """What was synced of a file is there in every state, however an append is torn."""
    program.write("a", b"one\n")
    program.fsync("a", ".")
    program.write("a", b"two\n")

    contents = [tree["a"] for tree in program.states(model)]

    assert all(content.startswith(b"one\n") for content in contents)
    assert {b"one\n", b"one\ntw", b"one\ntwo", b"one\ntwo\n"} <= set(contents)


@BOTH
def test_overwriting_may_be_torn(program, model):
    """A file overwritten in place may be old behind and new in front; its size stays."""
    program.write("a", b"aaaa")
    program.fsync("a", ".")
    program.write("a", b"bbbb", how=0)

    assert [tree["a"] for tree in program.states(model)] == [b"bbbb", b"aaaa", b"bbba", b"bbaa"]


@BOTH
def test_two_names_of_a_file_have_one_content(program, model):
    """However a file's content is torn, each of its hard links shows the same."""
    program.write("a", b"job")
    program.call(os.link, "a", "b")
    program.fsync(".")

    states = program.states(model)

    assert len(states) > 1
    assert all(tree["a"] == tree["b"] for tree in states)


def test_truncation_is_in_the_journal(program):
    """In ordered a truncation is durable after any fsync and the old content gone; posix may have it back."""
    program.write("a", b"old")
    program.write("other", b"")
    program.fsync("a", "other", ".")
    program.write("a", b"new", how=os.O_TRUNC)
    assert any(tree["a"] == b"old" for tree in program.states(Model.ORDERED))

    program.fsync("other")

    assert [tree["a"] for tree in program.states(Model.ORDERED)] == [b"new", b"", b"ne", b"n"]
    assert any(tree["a"] == b"old" for tree in program.states(Model.POSIX))


def test_journal_that_lost_a_truncation_lost_what_was_written_after_it(program):
    """In ordered, where an entry made before a truncation is lost, the truncated file is as it was before."""
    program.write("a", b"old")
    program.fsync("a", ".")
    program.write("b", b"")
    program.write("a", b"new", how=os.O_TRUNC)

    assert {tree["a"] for tree in program.states(Model.ORDERED) if "b" not in tree} == {b"old"}


@BOTH
def test_file_whose_removal_is_undone_has_its_content(program, model):
    """A file written to and synced after its name is gone has that content if the name is back."""
    program.write("a", b"old")
    program.fsync("a", ".")
    fd = os.open(program.root / "a", os.O_WRONLY)
    program.call(os.unlink, "a")
    os.write(fd, b"new")
    program.disk.changed(os.fstat(fd).st_ino)
    assert {"a": b"old"} in program.states(model)
    assert {"a": b"new"} in program.states(model)

    program.disk.synced(os.fstat(fd).st_ino)
    os.close(fd)

    assert program.states(model) == ([{}] if model is Model.ORDERED else [{}, {"a": b"new"}])


@BOTH
def test_new_file_is_never_taken_for_a_removed_one(program, model):
    """A new file is another one than the file removed just before, though the inode number may be free."""
    program.write("a", b"first")
    program.fsync("a", ".")
    program.call(os.unlink, "a")
    program.write("b", b"")

    states = program.states(model)

    assert all(tree.get("b", b"") == b"" for tree in states)
    assert {"a": b"first"} in states


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
