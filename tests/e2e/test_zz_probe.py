from tests.e2e.attended import *
import pytest, trio
pytestmark = pytest.mark.e2e
async def test_probe(new_machine):
    machine = new_machine()
    async with attended_node(machine) as node:
        await node.boot(1)
        async def sh(*c):
            d = await machine.run(*c, check=False)
            print("$", *c, "\n", d.stdout.decode()[-3000:], d.stderr.decode()[-2000:], flush=True)
        with trio.move_on_after(15):
            await node.entered("done")
        await sh("journalctl","-u","torcxd","-o","short-precise","--no-pager")
        await sh("systemctl","status","--no-pager","torcxd")
        node.site.bucket.fail(NEW_OS, __import__("torcxd.sandbox.bucket_faults",fromlist=["Fault"]).Fault.NOT_FOUND)
        await node.announce()
        await node.engine.show(__import__("torcxd.sandbox.update_engine",fromlist=["Step"]).Step("UPDATED_NEED_REBOOT", version=NEW_OS))
        await trio.sleep(3)
        await sh("systemd-inhibit","--list","--no-pager")
        await sh("systemctl","status","--no-pager","torcxd")
        await sh("journalctl","-u","torcxd","-o","short-precise","--no-pager", "-n", "20")
        await sh("runuser","-u","nobody","--","busctl","call","org.freedesktop.login1","/org/freedesktop/login1","org.freedesktop.login1.Manager","CanReboot")
        await sh("busctl","call","org.freedesktop.login1","/org/freedesktop/login1","org.freedesktop.login1.Manager","CanReboot")
        for c in CMDS:
            await sh(*c)
            with trio.move_on_after(5):
                await machine.event("boot", boot=machine.boots+1)
                print("REBOOTED by", c)
                break
CMDS=[("systemctl","reboot","--check-inhibitors=yes"),("systemctl","reboot"),]
