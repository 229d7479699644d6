"""torcx's seal: /run/metadata/torcx and the profile that was applied."""

from __future__ import annotations

from typing import Final

from tests.fuzz.oracle import emptied, put, refusing
from torcxd.addons.profile import read_sealed
from torcxd.errors import PermanentError
from torcxd.paths import Layout

WORDS: Final = (
    'TORCX_LOWER_PROFILES="vendor"', 'TORCX_UPPER_PROFILE="tectonic"', 'TORCX_PROFILE_PATH="/run/torcx/profile.json"',
    'TORCX_BINDIR="/run/torcx/bin"', "\n", "'", '{"kind":"profile-manifest-v0","value":{"images":[]}}',
)  # fmt: skip


def check(data: bytes) -> None:
    """The metadata, a NUL byte, and the profile."""
    metadata, _, profile = data.partition(b"\0")
    layout = Layout(emptied("seal"))
    put(layout.torcx_metadata, metadata)
    put(layout.sealed_profile, profile)
    with refusing(PermanentError):
        sealed = read_sealed(layout)
        if sealed is not None:
            sealed.reference("docker")
