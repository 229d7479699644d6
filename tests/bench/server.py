"""A file server that is no bottleneck, in a process of its own: sendfile(2) over HTTP, the mapped file over HTTPS.

``python -m tests.bench.server FILE CA`` serves FILE at every path, writes the certificate of its throw-away authority
to CA, and prints ``{"http": URL, "https": URL}``. It ends when its standard input does, and so with its parent.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

from torcxd.sandbox.tls import Authority

# One call into OpenSSL, which cuts it into records. Python holds no lock meanwhile; more gains nothing.
_PIECE: Final = 1 << 20
# Far more than a client's request head.
_HEAD: Final = 64 << 10

Serve = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class FileServer:
    """A running server.

    :param urls: where the file is, by scheme.
    :param authority: the certificate to trust, PEM.
    """

    urls: dict[str, str]
    authority: Path

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without proxies, and with the authority trusted by Python and curl."""
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {**kept, "SSL_CERT_FILE": str(self.authority), "CURL_CA_BUNDLE": str(self.authority)}


@contextmanager
def file_server(file: Path, directory: Path) -> Iterator[FileServer]:
    """Serve *file* from a process of its own for the length of the block.

    :param directory: gets the authority's certificate.
    """
    authority = directory / "server-ca.pem"
    command = [sys.executable, "-m", "tests.bench.server", str(file), str(authority)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield FileServer(json.loads(process.stdout.readline()), authority)
        finally:
            process.communicate()


def main(file: Path, authority: Path) -> None:
    """The program."""
    with file.open("rb") as content, mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        ca = Authority()
        ca.write(authority)
        context = ca.server_context()
        head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(mapped)}\r\nETag: "1"\r\n\r\n'.encode()

        def plain(connection: socket.socket) -> None:
            _read_head(connection)
            connection.sendall(head)
            connection.sendfile(content)

        def encrypted(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as tls:
                _read_head(tls)
                tls.sendall(head)
                with memoryview(mapped) as view:
                    for start in range(0, len(view), _PIECE):
                        tls.sendall(view[start : start + _PIECE])
                # A client that keeps the connection for later, or ends it: both are the end here.
                tls.recv(1)

        urls = {
            scheme: f"{scheme}://127.0.0.1:{_listen(serve)}/image"
            for scheme, serve in (("http", plain), ("https", encrypted))
        }
        print(json.dumps(urls), flush=True)
        sys.stdin.read()
        # Without the threads' consent: they are daemons, and the mapping is in their hands.
        os._exit(0)


def _listen(serve: Serve) -> int:
    """Serve every connection to a new port of 127.0.0.1 in a thread of its own; returns the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket) -> None:
        # A client may leave when it has what it wanted.
        with connection, suppress(ssl.SSLError, ConnectionError):
            serve(connection)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=handle, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def _read_head(connection: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD and (data := connection.recv(_HEAD)):
        head += data


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
