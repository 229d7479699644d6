"""Every message is read to its end, or ends the connection: also those that jeepney would read for ever."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from jeepney import DBusAddress, HeaderFields, low_level, new_signal

from torcxd.dbus.parser import Parser, UnreadableError

ADDRESS = DBusAddress("/x", interface="x.y")
# Seconds of the processor's after which a test counts as hanging: each of them takes some milliseconds.
_HANGS = 2.0


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise TimeoutError("it reads for ever")

    before = signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, _HANGS)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def message(signature: str, *body: Any) -> bytes:
    serialised: bytes = new_signal(ADDRESS, "Z", signature, body).serialise(1)
    return serialised


def with_field(signature: str, value: Any) -> bytes:
    """A signal whose sender is of another type."""
    fields = low_level.Array(low_level.Struct([low_level.simple_types["y"], low_level.Variant()]))
    data: bytes = struct.pack("<cBBBII", b"l", 4, 0, 1, 0, 1)
    data += fields.serialise([(int(HeaderFields.sender), (signature, value))], len(data), low_level.Endianness.little)
    return data + bytes(-len(data) % 8)


# jeepney writes no elements that take no bytes: others are written, and their type, of the same length, is renamed.
ENDLESS = {
    "in the body": message("aty", [1, 2], 3).replace(b"aty", b"a()"),
    "nested": message("atyyy", [1, 2], 3, 4, 5).replace(b"atyyy", b"a(())"),
    "in a structure": message("(aty)", ([1, 2], 3)).replace(b"(aty)", b"(a())"),
    "in a dictionary": message("a{s(aty)}", {"x": ([1, 2], 3)}).replace(b"aty", b"a()"),
    "in a variant": message("v", ("aty", [1, 2])).replace(b"aty", b"a()"),
    "in a variant of a variant": message("v", ("v", ("aty", [1, 2]))).replace(b"aty", b"a()"),
    "in one variant of many": message("av", [("s", "x"), ("aty", [1, 2])]).replace(b"aty", b"a()"),
    "in the header": with_field("aty", [1, 2]).replace(b"aty", b"a()"),
}


@pytest.mark.parametrize("where", ENDLESS)
def test_what_would_be_read_for_ever_ends_the_connection(where: str) -> None:
    assert b"()" in ENDLESS[where]
    with pytest.raises(UnreadableError, match="no message: ValueError: an array of structures without fields"):
        Parser().feed(ENDLESS[where])


@pytest.mark.parametrize("where", ENDLESS)
def test_jeepney_alone_reads_it_for_ever(where: str) -> None:
    """Each of them is a case in point; should jeepney mend this, the guard can go."""
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
    with pytest.raises(TimeoutError):
        low_level.Parser().feed(ENDLESS[where])


@pytest.mark.parametrize("endianness", ["<", ">"])
def test_a_text_that_looks_like_one_is_a_text(endianness: str) -> None:
    body = ("a()", {"()": ("v", ("s", "a(())"))}, [("()", 1)])
    data = message("sa{sv}a(su)", *body)
    if endianness == ">":
        # jeepney writes in the byte order that a header says.
        loud = new_signal(ADDRESS, "Z", "sa{sv}a(su)", body)
        loud.header.endianness = low_level.Endianness.big
        data = loud.serialise(1)
    # In pieces, as it comes.
    parser, received = Parser(), []
    for each in range(0, len(data), 7):
        received += parser.feed(data[each : each + 7])
    assert [each.body for each in received] == [body]


def test_what_came_before_is_read_first() -> None:
    parser = Parser()
    parser.add_data(message("s", "x") + ENDLESS["in the body"])
    assert parser.get_next_message().body == ("x",)
    with pytest.raises(UnreadableError):
        parser.get_next_message()


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 64, message("s", "x").replace(b"s\0", b"?\0"), message("s", "()")[:-1] + b"\xff", b"l" + bytes(31)],
    ids=["no byte order", "no type", "no text", "no kind"],
)
def test_what_is_no_message_ends_the_connection(data: bytes) -> None:
    with pytest.raises(UnreadableError, match="it sent what is no message"):
        Parser().feed(data)
