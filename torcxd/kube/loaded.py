"""An access whose files were read: what a client is made of, and how to tell whether it is still what the files say."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from torcxd.host.stamps import Stamps
from torcxd.kube.access import ClusterAccess


@dataclass(frozen=True, slots=True)
class LoadedAccess:
    """How to reach an API server, ready for use.

    :param tls: made of the authorities and the client certificate of *access*; None for a plain http server. It may be
        used by any number of clients.
    :param stamps: of every file that went into this one. A token file does not: it is read for each request.
    """

    access: ClusterAccess
    tls: ssl.SSLContext | None = field(repr=False)
    stamps: Stamps = field(repr=False)

    @classmethod
    def of(cls, access: ClusterAccess, source: Stamps | None = None) -> LoadedAccess:
        """Read the files that *access* names. Blocks: on some small ones, or on all authorities of the system.

        :param source: the stamps of what *access* itself was read from.
        :raises TorcxdError: a certificate or key cannot be read or used.
        """
        # Stamped before they are read: what changes in between is read again the next time.
        stamps = Stamps.of(*access.files()) if source is None else source | Stamps.of(*access.files())
        return cls(access, access.ssl_context(), stamps)
