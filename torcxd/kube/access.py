"""How to reach an API server and prove who we are, wherever that was read from.

Files are only named here, since kubelets and service accounts rotate theirs: a token file is read for each request, the
others when a TLS context is made, which :mod:`.loaded` keeps for as long as they stay the same.
"""

from __future__ import annotations

import os
import re
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torcxd.errors import EX_DATAERR, PermanentError, TorcxdError, from_os_error
from torcxd.host.files import read_bytes
from torcxd.http.authorities import system_authorities
from torcxd.http.proxies import Proxies
from torcxd.http.url import Url

# A bundle of every public authority is some 200 KiB; tokens, keys and chains are far smaller.
_LARGEST: Final = 1024 * 1024
# What a header may carry without being able to end it; bearer tokens are base64url and dots (RFC 6750, section 2.1).
_TOKEN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Material:
    """A certificate, key or token: its content, or the file that holds it.

    :param where: where it was configured, for messages.
    :param path: the file; None when *content* is it.
    """

    where: str
    path: Path | None = None
    content: bytes = field(default=b"", repr=False)

    def read(self) -> bytes:
        """The content, as it is now.

        :raises TorcxdError: the file cannot be read: typed by the errno, naming the file and where it was configured.
        """
        if self.path is None:
            return self.content
        try:
            return read_bytes(self.path, limit=_LARGEST)
        except TorcxdError as error:
            raise type(error)(f"{self.where}: {error.message}", hint=error.hint, exit_code=error.exit_code) from error


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """One cluster as seen by one user.

    :param where: what it was read from, for messages.
    :param server: the API server's URL without a slash at its end; it may have a path.
    :param namespace: the namespace that the configuration prefers.
    :param ca: the authorities that sign the server's certificate; None means those of the system.
    :param client_certificate, client_key: both or neither.
    :param basic: ``user:password``.
    :param server_hostname: the name in the server's certificate, where it is not that in the URL.
    :param verify: whether the server must prove its name.
    :param proxy: the proxy to use, whatever the environment says.
    """

    where: str
    server: str
    namespace: str = "default"
    ca: Material | None = None
    client_certificate: Material | None = None
    client_key: Material | None = None
    token: Material | None = None
    basic: str = field(default="", repr=False)
    server_hostname: str | None = None
    verify: bool = True
    proxy: Url | None = field(default=None, repr=False)

    def proxies(self, environment: Proxies) -> Proxies:
        """The proxies for this cluster: its own if it has one, else those of the *environment*."""
        return Proxies(http=self.proxy, https=self.proxy) if self.proxy else environment

    def headers(self) -> dict[str, str]:
        """The headers that authenticate a request. Reads the token file, so call it for each request.

        :raises TorcxdError: the token file cannot be read, or holds no token.
        """
        if self.token is not None:
            token = self.token.read().decode("utf-8", "replace").strip()
            if not _TOKEN.fullmatch(token):
                what = "has characters that no token has" if token else "is empty"
                raise PermanentError(
                    f"{self.token.where}: the token {what}",
                    hint="renew the token",
                    exit_code=EX_DATAERR,
                )
            return {"Authorization": f"Bearer {token}"}
        if self.basic:
            return {"Authorization": f"Basic {b64encode(self.basic.encode()).decode()}"}
        return {}

    def files(self) -> tuple[Path, ...]:
        """The files that :meth:`ssl_context` reads."""
        if not self.server.startswith("https:"):
            return ()
        named = [each.path for each in (self.ca, self.client_certificate, self.client_key) if each and each.path]
        return (*named, *(() if self.ca else system_authorities()))

    def ssl_context(self) -> ssl.SSLContext | None:
        """A client-side context with these authorities and this client certificate; None for a plain http server.

        Blocks: a few milliseconds, or 50 for the authorities of the system. No key is written to a disk on the way.

        :raises TorcxdError: a file cannot be read, or holds no certificate or key; names where it was configured.
        """
        if not self.server.startswith("https:"):
            return None
        context = ssl.create_default_context(cadata=_certificates(self.ca) if self.ca else None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate is not None and self.client_key is not None:
            _load_client(context, self.client_certificate, self.client_key)
        return context


def _certificates(material: Material) -> str:
    """The PEM certificates in *material*, known to be well-formed."""
    # Comments between the certificates may be in any language; the ssl module takes ASCII only.
    text = material.read().decode("ascii", "ignore")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise _unusable(material, "holds no well-formed PEM certificate") from error
    return text


def _load_client(context: ssl.SSLContext, certificate: Material, key: Material) -> None:
    chain = _certificates(certificate).encode()
    try:
        with _anonymous(chain) as chain_path, _anonymous(key.read()) as key_path:
            context.load_cert_chain(chain_path, key_path, password=_no_password)
    except ssl.SSLError as error:
        what = "holds no well-formed PEM private key"
        if error.reason == "KEY_VALUES_MISMATCH":
            what = f"does not belong to the certificate in {certificate.where}"
        raise _unusable(key, what) from error
    except _Encrypted as error:
        raise _unusable(key, "is encrypted, and there is nobody to ask for the password") from error
    except OSError as error:
        raise from_os_error(error, "load a client certificate from", "/proc/self/fd") from error


class _Encrypted(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    # Without a callback OpenSSL would ask on the terminal, and wait.
    raise _Encrypted


@contextmanager
def _anonymous(content: bytes) -> Iterator[str]:
    """A path to *content* in memory: the ssl module loads a client's key from files only."""
    with os.fdopen(os.memfd_create("torcxd", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _unusable(material: Material, what: str) -> PermanentError:
    name = f"{material.where}: {material.path}" if material.path else material.where
    return PermanentError(f"{name} {what}", hint="compare it with that of another node", exit_code=EX_DATAERR)
