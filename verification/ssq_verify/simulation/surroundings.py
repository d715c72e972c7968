"""What does a process have for itself that Python keeps once? Its time zone, current folder and umask.

They are those of the worker that runs: set when it begins to move, and put back when it stops; they cost
nothing where they do not differ from the host's.
"""

import os
import time


class Surroundings:
    """One worker's own, and what the host had in their place."""

    __slots__ = ("_folder", "_host_folder", "_host_umask", "_host_zone", "_umask", "_zone", "differ")

    def __init__(self) -> None:
        self.differ = False
        """Whether it left the host's current folder, or set a umask."""
        self._zone = ""
        self._host_zone: str | None = None
        self._folder: str | None = None
        self._host_folder = ""
        self._umask: int | None = None
        self._host_umask = 0

    def enter(self, zone: str) -> None:
        """Make them the process's; `zone` is what TZ says, "" for the host's."""
        if zone:
            self._host_zone = os.environ.get("TZ")
            _set_zone(zone)
        self._zone = zone
        if self._folder is not None:
            os.chdir(self._folder)
        if self._umask is not None:
            os.umask(self._umask)

    def leave(self) -> None:
        """Put the host's back."""
        if self._zone:
            _set_zone(self._host_zone)
            self._zone = ""
        if self._folder is not None:
            os.chdir(self._host_folder)
        if self._umask is not None:
            os.umask(self._host_umask)

    def moved(self, folder: str, host_folder: str) -> None:
        """Note that the worker has another current folder."""
        if self._folder is None:
            self._host_folder = host_folder
        self._folder = folder
        self.differ = True

    def masked(self, umask: int, before: int) -> None:
        """Note that the worker has another umask."""
        if self._umask is None:
            self._host_umask = before
        self._umask = umask
        self.differ = True


def _set_zone(zone: str | None) -> None:
    if zone is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = zone
    time.tzset()
