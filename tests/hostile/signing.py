"""OpenPGP signatures as an attacker bends them: made with the real gpg, and packets put together by hand (RFC 4880)."""

from __future__ import annotations

import base64
import subprocess
import zlib
from typing import Final

from torcxd.sandbox.keys import SigningKey

# Sub-packets of a signature; RFC 4880, section 5.2.3.1.
NOTATION: Final = 20
POLICY_URL: Final = 26
SIGNERS_NAME: Final = 28


def gpg(key: SigningKey, *arguments: str, data: bytes = b"") -> bytes:
    """What gpg answers in the key's own home."""
    command = ["gpg", "--homedir", str(key.home), "--batch", "--quiet", "--no-options", "--yes"]
    command += ["--pinentry-mode", "loopback", "--passphrase", ""]
    if key.time:
        command += ["--faked-system-time", key.time]
    command += ["--local-user", key.fingerprint, *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def sign(key: SigningKey, data: bytes, *options: str) -> bytes:
    """A binary detached signature."""
    return gpg(key, *options, "--detach-sign", data=data)


def armored(packets: bytes, kind: str = "SIGNATURE", headers: str = "") -> bytes:
    """*packets* as ASCII armor, without its optional checksum."""
    text = base64.encodebytes(packets).decode()
    return f"-----BEGIN PGP {kind}-----\n{headers}\n{text}-----END PGP {kind}-----\n".encode()


def dearmored(signature: bytes) -> bytes:
    """The packets in an ASCII armor."""
    lines = signature.decode().split("\n\n", 1)[1].splitlines()
    return base64.b64decode("".join(line for line in lines if line and line[0] not in "=-"))


def packet(tag: int, body: bytes) -> bytes:
    """A packet in the new format, with its length in four bytes."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


def body_of(signature: bytes) -> bytes:
    """The body of the one packet in *signature*, in the old format, as gpg writes it."""
    width = {0: 1, 1: 2, 2: 4}[signature[0] & 3]
    length = int.from_bytes(signature[1 : 1 + width], "big")
    return signature[1 + width : 1 + width + length]


def notation(name: bytes, value: bytes) -> bytes:
    """The content of a notation sub-packet, of human-readable kind."""
    return b"\x80\0\0\0" + len(name).to_bytes(2, "big") + len(value).to_bytes(2, "big") + name + value


def smuggle(signature: bytes, kind: int, content: bytes) -> bytes:
    """*signature* with one more sub-packet in the part that is not signed: anybody can put it there."""
    body = body_of(signature)
    end_of_hashed = 6 + int.from_bytes(body[4:6], "big")
    length = int.from_bytes(body[end_of_hashed : end_of_hashed + 2], "big")
    unhashed = body[end_of_hashed + 2 : end_of_hashed + 2 + length]
    added = b"\xff" + (len(content) + 1).to_bytes(4, "big") + bytes([kind]) + content
    unhashed = added + unhashed
    rest = body[end_of_hashed + 2 + length :]
    return packet(2, body[:end_of_hashed] + len(unhashed).to_bytes(2, "big") + unhashed + rest)


def literal(data: bytes, name: bytes = b"") -> bytes:
    """A literal data packet."""
    return packet(11, b"b" + bytes([len(name)]) + name + b"\0\0\0\0" + data)


def compressed(packets: bytes) -> bytes:
    """A compressed data packet, raw deflate."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packet(8, b"\x01" + deflate.compress(packets) + deflate.flush())
