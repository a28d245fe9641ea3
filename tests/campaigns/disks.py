"""Full disks: commands write to a small disk in memory. They say that it is full, and what was there stays whole."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from pathlib import Path
from random import Random

from app.errors import GaitprintError
from tests.campaigns.crew import Attempt, FaultError, Part, SkippedError
from tests.campaigns.kills import COMMANDS, Command, begin, prepared, run, said

_FULL = ("No space is left", "no space is left", "lacks the space")
_PATIENCE = 100.0
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS of Linux
_TRIED = (
    "export",
    "import",
    "rename",
    "merge",
    "forget",
    "re-embed",
    "enrol",
    "identify",
    "demo",
    "silhouettes",
    "train",
)


def prepare(folder: Path) -> Attempt:
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "campaign", str(folder)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        raise SkippedError("only root can mount a small disk, on Linux")
    made = prepared([COMMANDS[name] for name in _TRIED], folder)
    private = False

    def attempt(random: Random, place: Path) -> None:
        nonlocal private
        if not private:
            _keep_mounts_private()
            private = True
        name = random.choice(_TRIED)
        command = COMMANDS[name]
        print(name)
        fresh = made[command.prepare]
        assert isinstance(fresh, Path)  # none of these is ever left out
        before = command.state(fresh)
        used = sum(path.stat().st_size + 4096 for path in fresh.rglob("*")) >> 10
        disk = place / "work"  # what the command prints lies beside it
        disk.mkdir()
        if not _mounted(disk, used + random.choice([8, 16, 32, 64, 128, 256, 512, 1024])):
            raise FaultError("the disk cannot be mounted")
        try:
            _tried(command, fresh, disk, before)
        finally:
            _unmount(disk)

    return attempt


def _tried(command: Command, fresh: Path, work: Path, before: object) -> None:
    try:
        shutil.copytree(fresh, work, dirs_exist_ok=True)
    except (shutil.Error, OSError):
        raise GaitprintError("What is needed does not even fit on the disk.") from None
    child = begin(command.arguments, work)
    end = time.monotonic() + _PATIENCE
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            raise FaultError(f"it does not end: {said(work)[-2000:]}")
        time.sleep(0.005)
    text, code = said(work), os.waitstatus_to_exitcode(ended[1])
    if "Traceback" in text or code not in (0, 2):
        raise FaultError(f"code {code}: {text[-4000:]}")
    if code == 2 and not any(words in text for words in _FULL):
        raise FaultError(f"it does not say that the disk is full: {text[-2000:]}")
    subprocess.run(["mount", "-o", "remount,size=256m", str(work)], check=True)  # somebody makes room
    left = command.state(work)
    is_done = code == 0 or (left != before and "It is removed" in text)
    if not is_done and left != before and not command.steps:
        raise FaultError(f"it was refused, but there is {left} instead of {before}"[:3000])
    run(command.next if is_done else command.arguments, work)
    if command.state(work) == before:
        raise FaultError("with room it does nothing")


def _keep_mounts_private() -> None:
    """Give this process mounts of its own, which end with it, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "no mounts of its own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def _mounted(place: Path, kilobytes: int) -> bool:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "campaign", str(place)]
    return subprocess.run(mount, capture_output=True).returncode == 0


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=True)


PARTS: dict[str, Part] = {"disks": Part(prepare, 80, seconds=300, what="full disks")}
