"""What is said to a peer, as far as it is said in the clear: for reports, and to find a moment by."""

from __future__ import annotations

from typing import Final

from jeepney.low_level import HeaderFields, MessageType, Parser

_TLS: Final = {0x14: "TLS handshake", 0x15: "TLS alert", 0x16: "TLS handshake", 0x17: "TLS data"}


def said(data: bytes) -> str:
    """The name of a D-Bus method or signal, a word of its authentication, or the type of a TLS record; else empty."""
    # A message of either byte order, by its type; authentication is in capitals.
    if data[:1] in (b"l", b"B") and data[1] <= len(MessageType):
        message = Parser().feed(data)
        # An answer has no name.
        return str(message[0].header.fields.get(HeaderFields.member, "answer")) if message else ""
    if data[0] in _TLS:
        return _TLS[data[0]]
    word = data.split(None, 1)[0] if data.strip() else b""
    return word.decode() if word.isalnum() and word.isascii() else ""
