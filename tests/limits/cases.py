"""What is measured: each function meets one thing that is larger than it should be."""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import trio

from torcxd.addons.fetch import MAX_BYTES, Download, Fetcher
from torcxd.addons.manifest import parse_manifest
from torcxd.addons.signature import Verifier
from torcxd.addons.staging import Staging
from torcxd.daemon.statefile import StateFile, read_history, read_recorded
from torcxd.errors import TorcxdError
from torcxd.host.env_file import read_env_file
from torcxd.host.malloc import keep_heap_small
from torcxd.host.os_release import read_os_release
from torcxd.http import HttpClient, Proxies
from torcxd.kube.access import ClusterAccess, Material
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.loaded import LoadedAccess
from torcxd.kube.mappings import read_mappings
from torcxd.kube.nodes import get_node
from torcxd.kube.reflector import Pace, follow
from torcxd.kube.watch import watched_node
from torcxd.lifecycle.catalog import Digest
from torcxd.paths import Layout

NODE: Final = "node-1"


def said(function: Any, *arguments: Any) -> str:
    """What it has to say against the *arguments*; empty for nothing."""
    try:
        function(*arguments)
    except TorcxdError as error:
        return str(error)
    return ""


# Files. Each returns what is said of the file.


def os_release(path: str) -> str:
    return said(read_os_release, Path(path))


def env_file(path: str) -> str:
    return said(read_env_file, Path(path))


def kubeconfig(path: str) -> str:
    return said(load_kubeconfig, Path(path))


def token(path: str) -> str:
    return said(ClusterAccess("a test", "https://x", token=Material("a test", Path(path))).headers)


def mappings(path: str) -> str:
    return said(read_mappings, Path(path))


def state_file(path: str) -> str:
    """It is kept aside, as any that is of no use: what cannot be read would end the program each time."""
    layout = Layout(Path(path).parents[3])
    assert layout.state_file == Path(path)
    assert read_recorded(layout) is None
    assert StateFile(layout).load() is None
    assert not os.path.lexists(path)
    return Path(f"{path}.damaged").name


def old_history(path: str) -> int:
    """A history that somebody else has left is cut down with the next entry; returns what is left, in bytes."""
    layout = Layout(Path(path).parents[3])
    assert layout.history_file == Path(path)
    read_history(Path(path), most=1000)
    StateFile(layout).record({"n": 1})
    assert read_history(Path(path), most=1000)[-1] == {"n": 1}
    return os.stat(path).st_size


def keyring(path: str, home: str) -> str:
    async def verify() -> None:
        await Verifier(Path(path), Path(home)).prepare()

    return said(trio.run, verify)


# What grows over the years.


def history(root: str, entries: int, seconds: float | None = None) -> list[int]:
    """So many transitions; returns the largest size that the history had, in bytes, and how many there were.

    :param seconds: after which no more are made; None for as long as it takes.
    """
    layout = Layout(Path(root))
    state, path, largest, made = StateFile(layout), str(layout.history_file), 0, 0
    until = None if seconds is None else time.monotonic() + seconds
    entry = {"at": 1.5e9, "boot_id": "b" * 36, "from": "gathering", "to": "fetching", "event": "planned"}
    while made < entries:
        made += 1
        state.record({**entry, "because": f"the target is known, for the {made}th time"})
        largest = max(largest, os.stat(path).st_size)
        if until is not None and time.monotonic() > until:
            break
    newest = read_history(layout.history_file, most=1)[0]
    assert newest["because"].endswith(f" {made}th time")
    return [largest, made]


# What comes over the network.


def manifest(path: str) -> int:
    """A manifest from a file; returns how many versions it has."""
    return len(parse_manifest(Path(path).read_bytes(), "a test").packages["docker"].versions)


async def node(url: str) -> int:
    """GET a node; returns the size of its annotations."""
    async with _client(url) as client:
        found = await get_node(client, NODE)
        return sum(map(len, found.annotations.values()))


async def node_error(url: str) -> str:
    try:
        await node(url)
    except TorcxdError as error:
        return str(error)
    return ""


async def watched(url: str, events: int) -> list[Any]:
    """Follow a node until the resource version *events*, slowly; returns how many states were seen, and the last."""
    states, last = 0, ""
    async with (
        _client(url) as client,
        follow(watched_node(client, NODE), lambda ok, detail: None, random=lambda: 0.5, pace=Pace()) as found,
    ):
        async for each in found:
            assert each is not None
            states, last = states + 1, each.resource_version
            await trio.lowlevel.checkpoint()
            if int(last) >= events:
                break
    return [states, last]


async def watch_error(url: str) -> str:
    """Follow a node until something is wrong; returns what."""
    told: list[str] = []

    async def give_up(_: float) -> None:
        raise StopFollowing

    def hear(ok: bool, detail: str) -> None:
        if not ok:
            told.append(detail)

    class StopFollowing(Exception):
        pass

    try:
        async with (
            _client(url) as client,
            follow(watched_node(client, NODE), hear, random=lambda: 0.5, pause=give_up) as found,
        ):
            async for _ in found:
                pass
    except StopFollowing:
        pass
    return told[-1]


def _client(url: str) -> AbstractAsyncContextManager[KubeClient]:
    return open_client(LoadedAccess.of(ClusterAccess("a test", url)), Proxies.none())


async def image(url: str, hexdigest: str, directory: str, most: int = MAX_BYTES) -> str:
    """Download an image into staging; returns what is said against it."""
    http = HttpClient()
    try:
        fetcher = Fetcher(http, Staging(Path(directory)), max_bytes=most)
        await fetcher.fetch([Download(Digest("sha512", hexdigest), (url,), "docker:1")])
    except TorcxdError as error:
        return str(error)
    finally:
        await http.aclose()
    return ""


# The C library.


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2``; mallinfo(3)."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")) + tuple(
        (name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    )


def mapped(small_heap: bool) -> int:
    """How many of ten buffers of 256 KiB are mapped by themselves once a larger one was freed."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    if small_heap:
        keep_heap_small()
    larger = bytearray(4 << 20)
    del larger
    before = mallinfo().hblks
    buffers = [bytearray(256 * 1024) for _ in range(10)]
    return int(mallinfo().hblks - before) if buffers else 0
