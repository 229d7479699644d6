"""Every path that torcxd reads or writes, below one root.

``--root DIR`` moves them all at once, for images, containers, tests and the demo. Other modules spell no absolute path
of the host, but for the settings' defaults, the vendor's stores, and what ``torcxd status`` needs without an import.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The names of torcx's own layout; see torcx's documentation, "paths and permissions".
STORE_NAME: Final = "store"


@dataclass(frozen=True, slots=True)
class Layout:
    """The node's file-system layout below ``root``.

    :param root: the directory that stands for ``/``.
    """

    root: Path = Path("/")

    def at(self, absolute: str | Path) -> Path:
        """Where the host's absolute path *absolute* lies below the root."""
        return self.root / str(absolute).lstrip("/")

    # The host.
    @property
    def os_release(self) -> Path:
        return self.at("/usr/lib/os-release")

    @property
    def boot_id(self) -> Path:
        """One UUID per boot, from the kernel; proc(5)."""
        return self.at("/proc/sys/kernel/random/boot_id")

    @property
    def journal_socket(self) -> Path:
        """Where the journal takes structured entries; systemd-journald.service(8)."""
        return self.at("/run/systemd/journal/socket")

    @property
    def os_update_marker(self) -> Path:
        """update_engine's note that an update waits for the reboot: ``kUpdateCompletedMarker`` in its sources.

        Written at the end of each installation, removed by a reset; a boot begins without it.
        """
        return self.at("/run/update_engine_autoupdate_completed")

    @property
    def docker_data(self) -> Path:
        return self.at("/var/lib/docker")

    @property
    def docker_cleanup_unit(self) -> Path:
        """The unit that cleans Docker's data: in /etc, which is there when systemd starts, and in containers, too."""
        return self.at("/etc/torcx/torcxd-docker-cleanup.service")

    @property
    def docker_cleanup_due(self) -> Path:
        """Exists while there is a Docker to which Docker's data is of no use; torcxd/host/docker_cleanup.py."""
        return self.torcx_state / "docker-cleanup-due"

    @property
    def docker_socket(self) -> Path:
        """Where Docker answers; /var/run is a link to /run."""
        return self.at("/run/docker.sock")

    # torcx.
    @property
    def torcx_state(self) -> Path:
        return self.at("/var/lib/torcx")

    @property
    def user_store(self) -> Path:
        """The store that torcxd writes to; vendor and OEM stores are read-only."""
        return self.torcx_state / STORE_NAME

    def stores(self, os_version: str) -> tuple[Path, ...]:
        """The stores in the order in which torcx's generator looks, first hit wins."""
        return (
            self.at("/usr/share/torcx/store"),
            self.at("/usr/share/oem/torcx/store") / os_version,
            self.at("/usr/share/oem/torcx/store"),
            self.user_store / os_version,
            self.user_store,
        )

    @property
    def staging(self) -> Path:
        """Downloads, keyed by digest: on the store's own file system, so that placing is a link or a rename."""
        return self.torcx_state / "torcxd-staging"

    def profile_directories(self) -> tuple[Path, Path, Path]:
        """Vendor, OEM and user profiles, in the order in which torcx merges them."""
        return (
            self.at("/usr/share/torcx/profiles"),
            self.at("/usr/share/oem/torcx/profiles"),
            self.at("/etc/torcx/profiles"),
        )

    @property
    def next_profile(self) -> Path:
        return self.at("/etc/torcx/next-profile")

    @property
    def torcx_metadata(self) -> Path:
        """The seal that the generator leaves at boot once it has applied a profile."""
        return self.at("/run/metadata/torcx")

    @property
    def sealed_profile(self) -> Path:
        return self.at("/run/torcx/profile.json")

    def written(self) -> tuple[Path, ...]:
        """The directories in which torcxd names files, and those in which it makes these, the outermost first."""
        own = (self.torcx_state, self.state_directory, self.next_profile.parent, self.at("/etc/kubernetes"))
        stores = sorted(self.user_store.iterdir()) if self.user_store.is_dir() else []
        inner = (self.profile_directories()[-1], self.staging, self.user_store, *stores)
        return (*dict.fromkeys(each.parent for each in own), *own, *inner)

    # Kubernetes.
    @property
    def installer(self) -> Path:
        """The installer's node-local fallback for everything that the API server would answer (A22)."""
        return self.at("/etc/kubernetes/installer")

    @property
    def service_account(self) -> Path:
        return self.at("/var/run/secrets/kubernetes.io/serviceaccount")

    # torcxd itself.
    @property
    def state_directory(self) -> Path:
        return self.at("/var/lib/torcxd")

    @property
    def state_file(self) -> Path:
        return self.state_directory / "state.json"

    @property
    def history_file(self) -> Path:
        return self.state_directory / "history.jsonl"

    @property
    def kubelet_restart_due(self) -> Path:
        """Exists while kubelet.env was changed and the kubelet was not restarted for it yet."""
        return self.state_directory / "kubelet-restart-due"

    @property
    def keyring_home(self) -> Path:
        """gpg's home directory for the imported keyring; private (0700)."""
        return self.state_directory / "gnupg"

    @property
    def sources_file(self) -> Path:
        """How the daemon's sources are; of no use after a boot, so it lies in /run."""
        return self.at("/run/torcxd/sources.json")

    def configuration(self) -> tuple[Path, ...]:
        """Configuration directories, the strongest last."""
        return (self.at("/usr/lib/torcxd"), self.at("/etc/torcxd"))
