"""Which names may be left after a power loss, in each model of a disk, and which must never be?"""

import os

from power_losses import BOTH, moved, tapes
from ssq_verify.simulation.surviving import Model


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
