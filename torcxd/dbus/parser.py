"""Reading messages with jeepney, whatever the bus sends.

jeepney never comes to the end of an array of structures without fields: none of its elements takes a byte, so it looks
for the next one in the same place for ever, and keeps each. The D-Bus specification forbids such structures
("Signature Strings"), and dbus-daemon and dbus-broker hang up on who sends one. So only something that is no proper bus
gets that far; then it is the connection that ends, not the process that hangs.
"""

from __future__ import annotations

from typing import Any, Final

import trio
from jeepney import HeaderFields, low_level

# What each signature of such a type contains, in the header or in a variant: all else need not be looked at.
_EMPTY: Final = b"()"
# Where the header's fields begin; the D-Bus specification, "Message Format".
_FIELDS: Final = 12
_SIGNATURE: Final = low_level.simple_types["g"]


class UnreadableError(trio.BrokenResourceError):
    """The bus sent what is no message: nobody knows where the next one begins."""


class Parser(low_level.Parser):  # type: ignore[misc]  # jeepney has no types
    """jeepney's parser, which comes to an end with everything."""

    def get_next_message(self) -> Any:
        """The next message, None while it is not complete.

        :raises UnreadableError: it cannot be read, and nothing after it.
        """
        try:
            if self.bytes_desired() <= 0:
                _check(self.buf.peek(self.next_msg_size), self.fds)
            return super().get_next_message()
        except Exception as error:
            # Of jeepney's reading: ValueError, struct.error, IndexError, KeyError, TypeError, RecursionError and more.
            raise UnreadableError(f"it sent what is no message: {type(error).__name__}: {error}") from error


def _check(message: bytes, descriptors: list[Any]) -> None:
    """Raise ``ValueError``, or what jeepney raises, for a message that it would never come to the end of."""
    if _EMPTY not in message:
        return
    # It may stand in a string: then the message reads as any other.
    endianness = low_level.endian_map[message[:1]]
    read, position = _FIELD_TYPE.parse_data(message, _FIELDS, endianness)
    fields = {code: value for code, (_, value) in read}
    body = _type(f"({fields.get(HeaderFields.signature, '')})")
    body.parse_data(message, position, endianness, fds=descriptors)


class _Variant(low_level.Variant):  # type: ignore[misc]  # jeepney has no types
    """A variant whose type is looked at before its value."""

    def parse_data(self, buf: bytes, pos: int, endianness: Any, fds: Any = ()) -> tuple[Any, int]:
        signature, pos = _SIGNATURE.parse_data(buf, pos, endianness)
        value, pos = _type(signature).parse_data(buf, pos, endianness, fds=fds)
        return (signature, value), pos


_FIELD_TYPE: Final = low_level.Array(low_level.Struct([low_level.simple_types["y"], _Variant()]))


def _type(signature: str) -> Any:
    """jeepney's reader for values of the type *signature*. Raises ``ValueError`` where it would read for ever."""
    return _guarded(low_level.parse_signature(list(signature)))


def _guarded(reader: Any) -> Any:
    match reader:
        case low_level.Variant():
            return _Variant()
        case low_level.Array():
            if _takes_nothing(reader.elt_type):
                raise ValueError("an array of structures without fields")
            return low_level.Array(_guarded(reader.elt_type))
        case low_level.Struct():
            return type(reader)([_guarded(each) for each in reader.fields])
        case _:
            return reader


def _takes_nothing(reader: Any) -> bool:
    return isinstance(reader, low_level.Struct) and all(map(_takes_nothing, reader.fields))
