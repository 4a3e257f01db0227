"""A disk that can be made to stand still: a file system on a loop device whose file lies on
another file system, which is frozen.
"""

import os
import pathlib
import subprocess
import threading

from driver import toolchain

# Sparse: what is written is all they take.
OUTER_BYTES = 8 << 30
INNER_BYTES = 6 << 30
BLOCK = 4096


class DiskError(Exception):
    """The disk could not be made."""


def system(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise DiskError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


class Disk:
    """Mounted at `path` until it is removed."""

    def __init__(self, folder):
        if os.geteuid() != 0:
            raise DiskError("a disk is made and mounted: run this as root")
        toolchain.debian_package("mkfs.ext4", "e2fsprogs")
        self.undo = []
        try:
            self.outer = self._mounted(folder / "outer", OUTER_BYTES)
            self.path = self._mounted(self.outer / "inner", INNER_BYTES)
        except DiskError:
            self.remove()
            raise

    def _mounted(self, place, size):
        """An ext4 file system in a file beside `place`, mounted there."""
        image = place.with_suffix(".img")
        with open(image, "wb") as file:
            file.truncate(size)
        system("mkfs.ext4", "-q", image)
        device = system("losetup", "--find", "--direct-io=on", "--show", image)
        self.undo.append(("losetup", "--detach", device))
        place.mkdir()
        system("mount", device, place)
        self.undo.append(("umount", place))
        return pathlib.Path(place)

    def stand_still(self):
        """From here on nothing that is written arrives. Gives a write that waits for that."""
        system("fsfreeze", "--freeze", self.outer)
        return Write(self.path / "probe")

    def go_on(self):
        system("fsfreeze", "--unfreeze", self.outer)

    def remove(self):
        while self.undo:
            system(*self.undo.pop())


class Write(threading.Thread):
    """Writes a block, which has arrived when the thread ends."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.start()

    def run(self):
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
        os.write(file, bytes(BLOCK))
        os.close(file)
