"""Which contents may be left after a power loss, in each model of a disk, and which must never be?"""

import os

import pytest

from power_losses import BOTH
from ssq_verify.simulation.surviving import Model


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


@BOTH
@pytest.mark.scenario("simulation/a-size-without-its-data")
def test_size_of_appends_may_reach_a_disk_without_their_data(program, model):
    """In ordered, too, what is appended to a block that a file has may be there in size alone, as zeros."""
    for byte in (b"1", b"2", b"3"):
        program.write("a", byte)

    contents = [tree["a"] for tree in program.states(model) if "a" in tree]

    assert {b"1\0", b"1\0\0", b"12\0", b"123"} <= set(contents)
    assert (b"\0" in contents) == (model is Model.POSIX)


def test_size_is_in_the_journal(program):
    """In ordered a file is not as long as it was made after an entry that is lost, but for its own data."""
    program.write("a", b"1")
    program.fsync("a")
    program.write("b", b"")
    program.write("a", b"2")

    assert b"1\0" in {tree["a"] for tree in program.states(Model.ORDERED) if "b" in tree}
    assert b"1\0" not in {tree["a"] for tree in program.states(Model.ORDERED) if "b" not in tree}


def test_new_block_comes_before_its_size(program):
    """In ordered zeros never go beyond the block that the file had."""
    program.write("a", b"1" * 4_000)
    program.write("a", b"2" * 200)

    contents = {tree["a"] for tree in program.states(Model.ORDERED) if "a" in tree}

    assert b"1" * 4_000 + bytes(96) in contents
    assert b"1" * 4_000 + bytes(200) not in contents


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
