"""What a run does to the file system, as strace sees it: every call with all of its data, of every thread and child.

What happens besides, outside of the program, is noted with the time, and told in between.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.integration.bootstrap.program import Adversary, ForkServer, Preparation, Process

_OUTPUT: Final = "STRACE_OUTPUT"
# The umask that the recorded programs start with: it is asked for by setting it.
_UMASK: Final = os.umask(0o022)
os.umask(_UMASK)
# Whatever changes a file system or makes a change durable; lseek, which says where the next write goes; and umask.
_CALLS: Final = (
    "open,openat,creat,lseek,write,pwrite64,writev,truncate,ftruncate,fsync,fdatasync,sync,syncfs,rename,renameat,"
    "renameat2,link,linkat,unlink,unlinkat,symlink,symlinkat,mkdir,mkdirat,rmdir,sendfile,copy_file_range,fallocate,"
    "chmod,fchmod,fchmodat,?fchmodat2,chown,fchown,lchown,fchownat,umask"
)
# More than an image of the tests; a write that strace cuts short is an error.
_LONGEST: Final = 4 << 20
_STRACE: Final = ("strace", "-qq", "-ff", "-ttt", "-T", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={_CALLS}")
_LINE: Final = re.compile(r"(?P<at>\d+\.\d+) (?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>.*) <(?P<took>[\d.]+)>")
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")
_STRING: Final = re.compile(r'"([^"]*)"(\.\.\.)?')
_DESCRIPTOR: Final = re.compile(r"(AT_FDCWD|\d+)<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded.

    :param at: when it was done, seconds since the epoch.
    :param paths: what it is about, absolute: that of its descriptor, or its names.
    :param data: what was written, or a symbolic link's target.
    :param number: the position after lseek or for pwrite64, the size for truncate, the mode for what is made or chmod.
    """

    at: float
    name: str
    paths: tuple[str, ...] = ()
    data: bytes = b""
    number: int = 0
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Moment:
    """Something outside of the program that it, or somebody else, may rely on from now on."""

    at: float
    what: str


@dataclass(slots=True)
class Recording:
    """What happened, in order of time once :meth:`events` is asked."""

    folder: Path
    noted: list[Call | Moment] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Something has happened now."""
        self.noted.append(Moment(time.time(), what))

    def add(self, name: str, *paths: str, data: bytes = b"", number: int = 0) -> None:
        """Somebody else has done this to the node's disk now."""
        self.noted.append(Call(time.time(), name, paths, data, number))

    def run(self, *command: str) -> None:
        """Run a command to its end, and record it."""
        subprocess.run([*_STRACE, "-o", str(self.folder / "trace"), *command], check=True)

    def events(self) -> list[Call | Moment]:
        """Everything, in order."""
        calls = [call for path in self.folder.iterdir() for call in _parse(path.read_text("ascii"))]
        return sorted([*calls, *self.noted], key=lambda each: each.at)


class RecordingServer(ForkServer):
    """Starts programs as its parent does, and records them while there is a :attr:`recording`.

    :ivar preparations: of each program, besides.
    """

    def __init__(self, server: ForkServer) -> None:
        super().__init__(server._path)
        self.recording: Recording | None = None
        self.preparations: Sequence[Preparation] = ()

    @asynccontextmanager
    async def start(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        *,
        entry: str = "torcxd",
        adversary: Adversary | None = None,
        preparations: Sequence[Preparation] = (),
    ) -> AsyncIterator[Process]:
        every = [*self.preparations, *preparations]
        if self.recording is not None:
            environment = {**environment, _OUTPUT: str(self.recording.folder / "trace")}
            every.append(Preparation("tests.power.record:attach"))
        async with super().start(
            arguments, environment, entry=entry, adversary=adversary, preparations=every
        ) as process:
            yield process


def attach() -> None:
    """Have this process traced from now on. strace holds its standard output: whoever reads that waits for it."""
    output = os.environ.pop(_OUTPUT)
    pid = os.getpid()
    command = [*_STRACE, "-o", output, "-p", str(pid)]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    mine = Path(f"{output}.{pid}")
    while not mine.exists() or not mine.stat().st_size:
        # A call for it to write down.
        os.lseek(os.open("/dev/null", os.O_RDONLY), 0, os.SEEK_SET)


def _parse(text: str) -> Iterator[Call]:
    """The calls of one thread."""
    umask = _UMASK
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        # Signals and ends; and calls that failed, which have changed nothing.
        if match is None or match["result"].startswith(("-1 ", "?")):
            continue
        if match["name"] == "umask":
            # gpg's; no thread of the program sets one, which would be that of its other threads, too.
            umask = int(match["arguments"], 8)
            continue
        call = _call(match["name"], match["arguments"], match["result"], float(match["at"]) + float(match["took"]))
        yield replace(call, number=call.number & ~umask) if call.name in _MAKES else call


def _call(name: str, arguments: str, result: str, at: float) -> Call:
    strings, cut = zip(*_STRING.findall(arguments), strict=True) if '"' in arguments else ((), ())
    if any(cut):
        raise AssertionError(f"strace did not write down all of {name}")
    texts = [_plain(each) for each in strings]
    descriptors = [_plain(path) for _, path in _DESCRIPTOR.findall(arguments)]
    number = int(result.partition("<")[0].partition(" ")[0])
    flags = frozenset(re.findall(r"\b[A-Z]+_[A-Z_]+\b", re.sub(r'"[^"]*"|<[^>]*>', "", arguments)))
    kind = _KINDS.get(name, name)
    if kind == "write":
        return Call(at, kind, (descriptors[0].decode(),), b"".join(texts)[:number])
    if kind in ("truncate", "pwrite64"):
        last = int(arguments.rpartition(", ")[2])
        return Call(at, kind, ((descriptors or texts)[0].decode(),), b"".join(texts)[:number] if texts else b"", last)
    if kind in ("lseek", "fsync", "syncfs"):
        return Call(at, kind, (descriptors[0].decode(),), number=number)
    if kind == "symlink":
        target, texts = texts[0], texts[1:]
        return Call(at, kind, _resolved(arguments, texts, descriptors), target)
    if kind in ("sendfile", "copy_file_range", "fallocate", "fchown"):
        return Call(at, kind, tuple(each.decode() for each in descriptors))
    if kind == "chmod":
        paths = _resolved(arguments, texts, descriptors) if texts else (descriptors[0].decode(),)
        return Call(at, kind, paths, number=_mode(arguments))
    number = _mode(arguments) if kind == "mkdir" or "O_CREAT" in flags else 0
    return Call(at, kind, _resolved(arguments, texts, descriptors), number=number, flags=flags)


def _mode(arguments: str) -> int:
    """The mode among the arguments: the first that is an octal number."""
    return int(re.findall(r", (0\d*)(?=,|$)", arguments)[0], 8)


_KINDS: Final = {
    **dict.fromkeys(("open", "openat", "creat"), "open"),
    **dict.fromkeys(("write", "writev"), "write"),
    **dict.fromkeys(("truncate", "ftruncate"), "truncate"),
    **dict.fromkeys(("fsync", "fdatasync"), "fsync"),
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("link", "linkat"), "link"),
    **dict.fromkeys(("symlink", "symlinkat"), "symlink"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "fchmodat2"), "chmod"),
}
# Those whose mode the umask takes bits from.
_MAKES: Final = ("open", "mkdir")


def _resolved(arguments: str, names: list[bytes], descriptors: list[bytes]) -> tuple[str, ...]:
    """The names as absolute paths: each may be relative to the descriptor that stands before it."""
    return tuple(
        os.path.normpath(os.path.join(descriptors[index] if index < len(descriptors) else b"/", name)).decode()
        for index, name in enumerate(names)
    )


def _plain(escaped: str) -> bytes:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), escaped).encode("latin-1")
