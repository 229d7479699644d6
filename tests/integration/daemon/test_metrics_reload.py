"""What the metrics count goes on over a reload of the configuration: Prometheus takes a fall for a new process."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress

import trio

from tests.integration.daemon.bench import OpenService
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.sandbox import BOARD, NEW_OS, WANTED_DOCKER

NEWER_OS = "1632.2.0"
IMAGE_BYTES = 30_000


async def scrape(port: int) -> dict[str, float]:
    """The samples by their series; waits for somebody who listens."""
    answer = b""
    while not answer:
        # While it reloads nobody listens, or hangs up.
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: torcxd\r\n\r\n")
                answer = b"".join([piece async for piece in stream])
    lines = answer.partition(b"\r\n\r\n")[2].decode().splitlines()
    samples = (each.rpartition(" ") for each in lines if not each.startswith("#"))
    return {series: float(value) for series, _, value in samples}


async def test_counters_go_on_over_a_reload(service: OpenService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flag = f"--metrics-listen=127.0.0.1:{port}"
    async with service() as node:
        async with node.daemon(flag) as daemon:
            await daemon.says("→ done")
            node.box.node.offer(NEWER_OS, like=NEW_OS)
            node.box.bucket.publish(BOARD, NEWER_OS, docker_image(WANTED_DOCKER, IMAGE_BYTES))
            begun = len(daemon.stderr)
            await node.announce(NEWER_OS)
            await daemon.says("→ staged", since=begun)
            before = await scrape(port)
            counters = {series: value for series, value in before.items() if "_total" in series and value}
            assert {"torcxd_downloaded_bytes_total", 'torcxd_transitions_total{from="verified",to="staged"}'} <= set(
                counters
            )
            daemon.send(signal.SIGHUP)
            await daemon.says("The configuration was reloaded.")
            after = await scrape(port)
            assert {series: after.get(series, 0) for series in counters} == counters
            assert counters["torcxd_downloaded_bytes_total"] > IMAGE_BYTES
        # Another process begins anew.
        async with node.daemon(flag):
            assert (await scrape(port))["torcxd_downloaded_bytes_total"] == 0
