"""Introspection data of exported objects; the D-Bus specification, "Introspection Data Format"."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Final
from xml.sax.saxutils import quoteattr

from torcxd.dbus.interface import Interface

_DOCTYPE: Final = """\
<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">"""


def describe(interfaces: Iterable[Interface], children: Iterable[str]) -> str:
    """The XML of one object.

    :param children: the names of the nodes right below it.
    """
    lines = [_DOCTYPE, "<node>"]
    for each in interfaces:
        lines.append(f" <interface name={quoteattr(each.name)}>")
        for name, method in each.methods.items():
            lines.append(f"  <method name={quoteattr(name)}>")
            lines += [_argument(one, direction="in") for one in split(method.takes)]
            lines += [_argument(one, direction="out") for one in split(method.returns)]
            lines.append("  </method>")
        for name, found in each.properties.items():
            lines.append(f'  <property name={quoteattr(name)} type={quoteattr(found.signature)} access="read"/>')
        for name, signature in each.signals.items():
            lines.append(f"  <signal name={quoteattr(name)}>")
            names = each.argument_names.get(name, ())
            lines += [_argument(one, name=called) for one, called in zip_longest(split(signature), names, fillvalue="")]
            lines.append("  </signal>")
        lines.append(" </interface>")
    lines += [f" <node name={quoteattr(each)}/>" for each in children]
    return "\n".join([*lines, "</node>"])


def children(path: str, objects: Iterable[str]) -> list[str]:
    """The names of the nodes right below *path* on the way to *objects*."""
    prefix = path.rstrip("/") + "/"
    return sorted(
        {each[len(prefix) :].partition("/")[0] for each in objects if each.startswith(prefix) and each != "/"}
    )


def split(signature: str) -> list[str]:
    """The complete types of a signature: ``xa(sv)b`` is ``x``, ``a(sv)``, ``b``."""
    types: list[str] = []
    start = depth = 0
    for position, letter in enumerate(signature):
        depth += (letter in "({") - (letter in ")}")
        if depth == 0 and letter != "a":
            types.append(signature[start : position + 1])
            start = position + 1
    return types


def _argument(signature: str, *, name: str = "", direction: str = "") -> str:
    named = f" name={quoteattr(name)}" if name else ""
    directed = f' direction="{direction}"' if direction else ""
    return f"   <arg type={quoteattr(signature)}{named}{directed}/>"
