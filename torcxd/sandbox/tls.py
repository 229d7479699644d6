"""A throw-away certificate authority, and TLS contexts for stand-ins and their clients."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import trustme


class Authority:
    """A certificate authority that lives as long as this object."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self._ca.cert_pem.bytes()

    def write(self, path: Path) -> Path:
        """Write the authority's certificate to *path*, e.g. for SSL_CERT_FILE."""
        path.write_bytes(self.pem)
        return path

    def server_context(self, *names: str, not_after: datetime | None = None) -> ssl.SSLContext:
        """A server-side context with a new certificate.

        :param names: host names and addresses that it is valid for; none means ``127.0.0.1`` and ``localhost``.
        :param not_after: when it expires; a moment in the past makes an expired certificate.
        """
        certificate = self._ca.issue_cert(
            *(names or ("127.0.0.1", "localhost")),
            not_before=datetime(2000, 1, 1, tzinfo=UTC) if not_after else None,
            not_after=not_after,
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client-side context that trusts this authority and no other."""
        return ssl.create_default_context(cadata=self.pem.decode("ascii"))

    def client_certificate(self, name: str) -> tuple[bytes, bytes]:
        """A certificate chain and its key, both PEM, with which a client can present itself as *name*."""
        certificate = self._ca.issue_cert(common_name=name)
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        return chain, certificate.private_key_pem.bytes()

    def require_clients(self, context: ssl.SSLContext) -> None:
        """Make the server-side *context* demand a client certificate from this authority."""
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
