"""What a stage volume refuses: renaming, appending and writing into the middle of a file, refused at the system call.

The container's process runs under a seccomp filter that hands `rename*` and every writing `open` without truncation to the first
process. That one looks whether the path lies on a stage volume and answers "operation not supported", as a stage mount does; all
else goes on untouched.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import select
import socket
import struct
from collections.abc import Callable

from emulator.runtime.init import libc

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_OPEN = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}  # (system call, index of its flags)
_RENAME = {"x86_64": (82, 264, 316), "aarch64": (38, 276)}
_WITH_DIRECTORY = {257, 264, 316, 56, 38, 276}
_SET_MODE_FILTER = 1
_NEW_LISTENER = 8
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, nr, arch, instruction pointer, args
_RESPONSE = struct.Struct("=QqiI")  # id, value, error, flags
_AT_FDCWD = 0xFFFFFF9C


def _filter() -> bytes:
    """The filter program: notify for renames and for writing opens without O_TRUNC, allow the rest."""
    machine = os.uname().machine
    load, equal, bits, give = 0x20, 0x15, 0x54, 0x06  # LD|W|ABS, JEQ|K, AND|K, RET|K
    program: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4),
        (equal, 1, 0, _ARCHITECTURE[machine]),
        (give, 0, 0, _ALLOW),
        (load, 0, 0, 0),
    ]
    for number in _RENAME[machine]:
        program += [(equal, 0, 1, number), (give, 0, 0, _NOTIFY)]
    for number, index in _OPEN[machine]:
        block = [
            (load, 0, 0, 16 + 8 * index),
            (bits, 0, 0, os.O_ACCMODE),
            (equal, 4, 0, os.O_RDONLY),  # reading: allow
            (load, 0, 0, 16 + 8 * index),
            (bits, 0, 0, os.O_TRUNC),
            (equal, 0, 1, 0),
            (give, 0, 0, _NOTIFY),
            (give, 0, 0, _ALLOW),
        ]
        program += [(equal, 0, len(block), number), *block]
    program.append((give, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def install(channel: socket.socket) -> None:
    """Put this process under the filter and send the listener through `channel`. Raises OSError where it cannot be."""
    code = _filter()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    argument = ctypes.create_string_buffer(program, len(program))
    listener = libc.seccomp(_SET_MODE_FILTER, _NEW_LISTENER, argument)
    channel.sendmsg([b"l"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    os.close(listener)


def receive_listener(channel: socket.socket) -> int | None:
    """The listener that the child sent, or None when it could not install the filter."""
    message, ancillary, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(4))
    if not message or not ancillary:
        return None
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2][:4])
    return descriptors[0]


class Guard:
    """Answers notifications for the stage volumes `mounts` (paths as the container sees them).

    `proc` is an open descriptor of the host's /proc: the container's own one numbers processes differently.
    """

    def __init__(self, listener: int, mounts: list[str], report: Callable[[str], None], proc: int) -> None:
        self.listener = listener
        self._mounts = [mount.rstrip("/") for mount in mounts]
        self._report = report
        self._proc = proc

    def answer(self) -> bool:
        """Handle one notification; False when nobody is left under the filter."""
        buffer = ctypes.create_string_buffer(_NOTIFICATION.size)
        try:
            libc.ioctl(self.listener, _RECEIVE, buffer)
        except OSError as error:
            return error.errno in (errno.EINTR, errno.EAGAIN) or self._anyone()  # ENOENT: the caller was killed
        identifier, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer.raw)
        try:
            refused = self._refusal(pid, number, arguments)
        except OSError:
            refused = None
        code, flags = (0, _CONTINUE) if refused is None else (-errno.EOPNOTSUPP, 0)
        response = ctypes.create_string_buffer(_RESPONSE.pack(identifier, 0, code, flags), _RESPONSE.size)
        try:
            libc.ioctl(self.listener, _SEND, response)
        except OSError:
            return True
        if refused is not None:
            self._report(refused)
        return True

    def _anyone(self) -> bool:
        """Whether the listener still has users: it reports a hang-up when the last filtered process is gone."""
        poll = select.poll()
        poll.register(self.listener, 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _refusal(self, pid: int, number: int, arguments: list[int]) -> str | None:
        if number in _RENAME[os.uname().machine]:
            if number in _WITH_DIRECTORY:
                places = [(arguments[0], arguments[1]), (arguments[2], arguments[3])]
            else:
                places = [(_AT_FDCWD, arguments[0]), (_AT_FDCWD, arguments[1])]
            source, target = (self._path(pid, directory, address) for directory, address in places)
            if self._guarded(source) or self._guarded(target):
                return f"rename of {source} to {target} is not supported on a stage volume"
            return None
        index = 1 if number in _WITH_DIRECTORY else 0
        directory = arguments[0] if index else _AT_FDCWD
        path = self._path(pid, directory, arguments[index])
        if not self._guarded(path) or not self._has_content(pid, path):
            return None
        how = "append to" if arguments[index + 1] & os.O_APPEND else "random write into"
        return f"{how} {path} is not supported on a stage volume"

    def _guarded(self, path: str) -> bool:
        return any(path.startswith(mount + "/") for mount in self._mounts)

    def _has_content(self, pid: int, path: str) -> bool:
        try:
            return os.stat(f"{pid}/root{path}", dir_fd=self._proc).st_size > 0
        except FileNotFoundError:
            return False

    def _path(self, pid: int, directory: int, address: int) -> str:
        memory = os.open(f"{pid}/mem", os.O_RDONLY, dir_fd=self._proc)
        try:
            raw = b""
            while b"\0" not in raw and len(raw) < 4096:
                # Stay inside a page per read: the next one may not be mapped.
                chunk = os.pread(memory, 4096 - (address + len(raw)) % 4096, address + len(raw))
                if not chunk:
                    break
                raw += chunk
        finally:
            os.close(memory)
        path = os.fsdecode(raw.partition(b"\0")[0])
        if not path.startswith("/"):
            place = "cwd" if directory & 0xFFFFFFFF == _AT_FDCWD else f"fd/{directory}"
            path = os.readlink(f"{pid}/{place}", dir_fd=self._proc) + "/" + path
        return os.path.normpath(path)
