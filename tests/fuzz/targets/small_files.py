"""Files of one line or a few: the boot id, next-profile, a service account's folder, torcx's link to it all."""

from __future__ import annotations

from typing import Final

from tests.fuzz.oracle import demand, emptied, put, refusing
from torcxd.addons.profile import next_profile_name
from torcxd.errors import ConfigurationError, PermanentError
from torcxd.host.boot import read_boot_id
from torcxd.kube.access import ClusterAccess, Material
from torcxd.kube.service_account import HOST, PORT, in_cluster_access
from torcxd.names import component
from torcxd.paths import Layout

WORDS: Final = ("d9b24f0e-6d0c-4bd0-a4a0-0c3ad0a8d1f8", "tectonic", "..", "vendor", "eyJ", "::1", "6443", "\x00")


def check(data: bytes) -> None:
    layout = Layout(emptied("small"))
    with refusing(PermanentError):
        boot_id = read_boot_id(put(layout.boot_id, data))
        demand(len(boot_id) == 36, "a boot id of another form")
    put(layout.next_profile, data)
    with refusing(PermanentError):
        name = next_profile_name(layout)
        demand(name is None or component(name) == name, "a name that leaves its folder")
    token = Material("the token", path=put(layout.root / "token", data))
    secrets = (data.decode("utf-8", "replace").strip(),)
    with refusing(PermanentError, secrets=secrets):
        value = ClusterAccess("x", "https://h", token=token).headers()["Authorization"]
        demand(value.isascii() and value.isprintable(), "a header that ends early")
    host, _, port = data.decode("utf-8", "surrogateescape").partition("|")
    put(layout.root / "sa" / "namespace", data)
    with refusing(ConfigurationError, PermanentError):
        in_cluster_access(layout.root / "sa", {HOST: host, PORT: port})
