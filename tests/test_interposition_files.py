"""Does each call on files stop at a point, and show a worker what a process would see?"""

# Each call is asked for in its plainest form:
# ruff: noqa: PTH101, PTH104, PTH109, PTH116, PTH204, PTH208, PTH211

import os
import shutil
from pathlib import Path
from time import sleep as nap

import pytest

from simulated import points, refused, together, told
from ssq_verify.execution import scratch
from ssq_verify.simulation import interposition
from ssq_verify.simulation.clock import EPOCH_NS
from ssq_verify.simulation.world import State

KEPT_FILES = []


class Keeper:
    """A class that keeps functions that it was given before any simulation."""

    rename = os.rename

    def __init__(self, pause=nap):
        self.pause = pause


interposition.install()


def test_file_times_are_virtual():
    """A file is as old as virtual time says, for each way to look; a rename changes its ctime alone."""

    def program(worker, folder):
        path = folder / "file"
        worker.sleep(10)
        path.write_text("first")
        worker.sleep(10)
        with path.open("a") as file:
            file.write("second")
        worker.sleep(10)
        path = path.rename(folder / "renamed")
        with os.scandir(folder) as entries:
            (entry,) = entries
        fd = os.open(path, os.O_RDONLY)
        looks = [path.stat(), os.lstat(path), os.fstat(fd), os.stat(fd), entry.stat()]
        os.close(fd)
        assert os.path.getmtime(path) == looks[0].st_mtime == looks[0][8]
        found = {(look.st_mtime_ns - EPOCH_NS, look.st_ctime_ns - EPOCH_NS, look.st_ino) for look in looks}
        return found, folder.stat().st_mtime_ns - EPOCH_NS, looks[0].st_size

    times, folders, size = told(program)
    assert [(modified, changed) for modified, changed, _ in times] == [(20 * 10**9, 30 * 10**9)]
    assert folders == 30 * 10**9
    assert size == len("firstsecond")


def test_file_times_can_be_set():
    """`utime`, by path and by descriptor, and `touch` set what `stat` then shows."""

    def program(worker, folder):
        path = folder / "file"
        path.touch()
        os.utime(path, (5, 7))
        by_path = path.stat().st_atime, path.stat().st_mtime
        with path.open() as file:
            os.utime(file.fileno(), ns=(1, 2))
        by_descriptor = path.stat().st_atime_ns, path.stat().st_mtime_ns
        worker.sleep(3)
        path.touch()
        return by_path, by_descriptor, path.stat().st_mtime_ns - EPOCH_NS

    assert told(program) == ((5, 7), (1, 2), 3 * 10**9)


def test_a_link_shows_the_times_of_what_it_leads_to():
    """A symbolic link has times of its own, a second name those of its file."""

    def program(worker, folder):
        (folder / "file").touch()
        worker.sleep(5)
        (folder / "link").symlink_to("file")
        os.link(folder / "file", folder / "second")
        looks = (folder / "link").stat(), (folder / "link").lstat(), (folder / "second").stat()
        return [(look.st_mtime_ns - EPOCH_NS) // 10**9 for look in looks]

    assert told(program) == [0, 5, 0]


def test_what_copies_and_removes_trees_is_reached():
    """`shutil` and `pathlib` are made of calls that stop at points, folders as descriptors included."""
    seen = points(
        lambda folder: (shutil.copytree(folder / "inner", folder / "copy"), shutil.rmtree(folder / "copy"))
    )
    assert "os.mkdir copy" in seen
    assert "os.rmdir copy" in seen
    seen = points(lambda folder: shutil.copyfile(folder / "there", folder / "copy"))
    assert any("there -> copy" in point for point in seen)


def at(folder, call, *names, **more):
    """Make a call with names relative to a folder's descriptor."""
    fd = os.open(folder, os.O_RDONLY)
    keys = ("src_dir_fd", "dst_dir_fd") if len(names) > 1 else ("dir_fd",)
    result = call(*names, **dict.fromkeys(keys, fd), **more)
    os.close(fd)
    return result


def synced(path):
    """Sync a file that was opened by `open`."""
    with path.open("r+b") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file)


CALLS = {
    "os.rename there -> inner/x": lambda f: os.rename(f / "there", f / "inner/x"),
    "os.rename there -> x": lambda f: at(f, os.rename, "there", "x"),
    "os.unlink there": lambda f: at(f, os.unlink, "there"),
    "os.stat there": lambda f: at(f, os.stat, "there"),
    "os.link there -> x": lambda f: os.link(f / "there", f / "x"),
    "os.symlink x": lambda f: os.symlink("there", f / "x"),
    "os.chmod there": lambda f: os.chmod(f / "there", 0o600),
    "os.truncate there": lambda f: os.truncate(f / "there", 0),
    "os.getxattr there": lambda f: os.listxattr(f / "there") or refused(os.getxattr, f / "there", "user.x"),
    "os.listdir inner": lambda f: os.listdir(f / "inner"),
    "os.scandir inner": lambda f: list(os.walk(f / "inner")),
    "os.listdir ": lambda f: os.listdir(os.open(f, os.O_RDONLY)),
    "os.readlink there": lambda f: refused(os.readlink, f / "there"),
    "os.pwritev there": lambda f: os.pwritev(os.open(f / "there", os.O_RDWR), [b"x"], 0),
    "os.writev there": lambda f: os.writev(os.open(f / "there", os.O_RDWR), [b"x"]),
    "os.preadv there": lambda f: os.preadv(os.open(f / "there", os.O_RDWR), [bytearray(1)], 0),
    "os.posix_fallocate there": lambda f: os.posix_fallocate(os.open(f / "there", os.O_RDWR), 0, 9),
    "os.fdatasync there": lambda f: os.fdatasync(os.open(f / "there", os.O_RDWR)),
    "os.write there": lambda f: os.write(os.dup(os.open(f / "there", os.O_RDWR)), b"x"),
    "os.read there": lambda f: (f / "there").read_bytes(),
    "os.fsync there": lambda f: synced(f / "there"),
}


@pytest.mark.parametrize(("point", "call"), CALLS.items(), ids=CALLS)
def test_each_call_on_files_is_a_point(point, call):
    """Whatever another process could see stops at a point first, however it is asked for."""
    assert point in points(call)


def test_a_path_is_known_however_it_is_written():
    """Dots and double slashes lead to the same entry."""
    assert "os.stat there" in points(lambda folder: os.stat(f"{folder}//inner/../there"))


def test_bound_names_are_reached_wherever_they_are_kept():
    """A class's attribute and a parameter's default, bound before any simulation, stop at points, too."""

    def program(folder):
        Keeper.rename(folder / "there", folder / "x")
        Keeper().pause(5)

    assert "os.rename there -> x" in points(program)


def test_each_worker_has_its_own_current_folder_and_umask():
    """`chdir` and `umask` of one worker are not another's, nor the host's."""
    before = os.getcwd()
    mask = os.umask(0o22)
    os.umask(mask)

    def moves(worker, folder):
        (folder / "inner").mkdir(exist_ok=True)
        os.chdir(folder / "inner")
        os.umask(0o77)
        worker.sleep(2)
        fd = os.open("made", os.O_CREAT | os.O_WRONLY, 0o666)
        os.close(fd)
        return Path(os.getcwd()).name, oct(os.stat("made").st_mode & 0o777)

    def stays(worker, _folder):
        worker.sleep(1)
        return os.getcwd()

    assert told(moves, stays) == [("inner", "0o600"), before]
    assert os.getcwd() == before
    assert os.umask(mask) == mask


def test_a_file_that_is_left_open_ends_with_its_worker():
    """What a worker leaves open is closed with it, and its locks are free."""

    def program(worker):
        KEPT_FILES.append(os.open(f"{worker.world.root}/file", os.O_CREAT | os.O_RDWR))

    with scratch() as folder:
        world = together(folder, program)
    assert [worker.state for worker in world.workers] == [State.DONE]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(KEPT_FILES[0])
