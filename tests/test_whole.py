"""Is a file that the harness writes whole, whatever breaks the writing off?"""

import pytest

from ssq_verify.whole import whole


@pytest.mark.scenario("command-line/no-room-at-the-end")
@pytest.mark.parametrize("before", [None, b"earlier"])
@pytest.mark.parametrize("broken_off_by", [OSError("no room"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_what_is_broken_off_leaves_what_was_there(tmp_path, before, broken_off_by):
    """An error or an interruption amid the writing leaves the earlier file, or none, and no draft."""
    path = tmp_path / "repro.json"
    if before is not None:
        path.write_bytes(before)

    with pytest.raises(type(broken_off_by)):
        write(path, b"the firs", then=broken_off_by)

    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == (
        {} if before is None else {"repro.json": before}
    )


@pytest.mark.scenario("command-line/no-room-at-the-end")
def test_what_is_finished_takes_its_place(tmp_path):
    """A draft that is finished is the file, and nothing else is left."""
    path = tmp_path / "repro.json"
    path.write_bytes(b"earlier")

    with whole(path) as draft:
        draft.write_bytes(b"the whole")

    assert [each.name for each in tmp_path.iterdir()] == ["repro.json"]
    assert path.read_bytes() == b"the whole"


def write(path, content, *, then):
    """Begin to write a file whole, and be broken off."""
    with whole(path) as draft:
        draft.write_bytes(content)
        raise then
