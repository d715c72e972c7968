"""Which file systems does the file queue refuse, and what does it ask of the others?"""

import pytest

from ssq_core import filesystem
from ssq_core.file import FileWorkerQueue
from ssq_core.filesystem import NETWORK_FILESYSTEMS, append_byte, filesystem_type, grow, length_of
from ssq_core.queue import UnsupportedFilesystem

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid shared:5 - proc proc rw
30 22 0:40 / /srv rw,relatime shared:9 master:3 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /srv/local rw,relatime - xfs /dev/vdb rw
32 22 0:42 / /mnt/with\040space rw - cifs //server/share rw
33 22 0:43 / /mnt/back\134slash rw - fuse.sshfs user@host: rw
34 22 0:44 / /over rw - nfs server:/a rw
35 34 0:45 / /over rw - tmpfs tmpfs rw
36 22 0:46 / /under rw - tmpfs tmpfs rw
37 36 0:47 / /under rw - 9p share rw,trans=virtio
a line that is no mount
"""


@pytest.mark.scenario("file-backend/the-mount-that-holds-the-folder")
@pytest.mark.parametrize(
    ("path", "fstype"),
    [
        ("/", "ext4"),
        ("/home/me/q", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/q", "nfs4"),
        ("/srvother", "ext4"),
        ("/srv/local", "xfs"),
        ("/srv/local/q", "xfs"),
        ("/srv/locally", "nfs4"),
        ("/mnt/with space/q", "cifs"),
        ("/mnt/back\\slash", "fuse.sshfs"),
        ("/over/q", "tmpfs"),
        ("/under/q", "9p"),
    ],
)
def test_the_mount_that_holds_a_path_tells_its_type(path, fstype):
    """The longest mount point above a path counts, and of two on one point the later."""
    assert filesystem_type(MOUNTS, path) == fstype


def test_no_table_of_mounts_tells_nothing():
    """Without a mount above the path, there is no type."""
    assert filesystem_type("", "/q") == ""


@pytest.mark.scenario("file-backend/a-folder-on-a-network-file-system")
@pytest.mark.parametrize("fstype", ["nfs4", "cifs", "9p", "fuse.sshfs", "ceph", "fuse.glusterfs"])
def test_a_network_file_system_is_refused_before_anything_is_made(tmp_path, monkeypatch, fstype):
    """A folder on a network file system is refused, named with its type, and left untouched."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 22 0:46 / {tmp_path} rw - {fstype} share rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", str(mounts))

    with pytest.raises(UnsupportedFilesystem, match=fstype) as refusal:
        FileWorkerQueue(tmp_path / "q")
    assert refusal.value.fstype == fstype
    assert not (tmp_path / "q").exists()


def test_a_link_to_a_network_file_system_is_refused(tmp_path, monkeypatch):
    """The folder that a link leads to is what counts."""
    (tmp_path / "share").mkdir()
    (tmp_path / "local").symlink_to(tmp_path / "share")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 d rw\n2 1 0:2 / {tmp_path}/share rw - nfs s rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", str(mounts))

    with pytest.raises(UnsupportedFilesystem):
        FileWorkerQueue(tmp_path / "local" / "q")


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", "fuseblk"])
def test_local_file_systems_are_accepted(fstype):
    """The usual local file systems are not on the list."""
    assert fstype not in NETWORK_FILESYSTEMS


def test_a_host_without_a_table_of_mounts_refuses_nothing(tmp_path, monkeypatch):
    """Where there is no /proc, a folder is taken as local."""
    monkeypatch.setattr(filesystem, "_MOUNTS", str(tmp_path / "none"))
    FileWorkerQueue(tmp_path / "q").enqueue("j")


def test_a_counter_counts_and_never_shrinks(tmp_path):
    """Each append draws the next number; growing raises the counter and never lowers it."""
    path = str(tmp_path / "counter")
    assert length_of(path) == 0
    assert [append_byte(path), append_byte(path)] == [1, 2]
    grow(path, 10)
    assert append_byte(path) == 11
    grow(path, 5)

    assert append_byte(path) == 12
