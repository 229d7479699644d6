"""When the daemon counts as started, and what the service manager shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.integration.daemon.bench import OpenService


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, listener: trio.socket.SocketType) -> None:
        self._listener = listener

    async def told(self, words: str) -> str:
        """Wait for a message with *words* in it."""
        while words not in (message := (await self._listener.recv(4096)).decode()):
            pass
        return message


@pytest.mark.accepts("N3", "N5")
async def test_it_is_up_without_update_engine_once_every_source_was_tried(service: OpenService, tmp_path: Path) -> None:
    """As where update-engine.service is masked; nothing was recorded on this node yet."""
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as listener:
        await listener.bind(str(tmp_path / "notify"))
        manager = Manager(listener)
        async with service() as node:
            node.box.update_engine.leave()
            async with node.daemon(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}):
                ready = await manager.told("READY=1")
                assert "waiting for update_engine to tell which OS version boots next" in ready
                assert "Not heard: update_engine." in ready
                report = await node.status()
                assert report["process"]["runs"] is True
                assert report["state"] == "gathering"
                assert report["waiting_for"] == "update_engine to tell which OS version boots next"
                up = {name: each["up"] for name, each in report["sources"].items()}
                assert up == {"update_engine": False, "node": True, "mappings": True, "version": True}
                # It is unmasked and started after all.
                await node.box.restart(node.box.update_engine)
                assert "Not heard" not in await manager.told("Done for OS")
