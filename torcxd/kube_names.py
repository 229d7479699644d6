"""What may be a name in Kubernetes: the API server refuses others, and would be asked for them again and again.

The rules are those of "Object Names and IDs" and "Labels and Selectors" in the documentation of Kubernetes.
"""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
# Objects such as nodes: DNS subdomains of RFC 1123, whose whole length counts, not that of their parts.
_SUBDOMAIN: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_LONGEST_SUBDOMAIN: Final = 253
_KEY: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"


def parse_namespace(text: str) -> str:
    """The name of a namespace. Raises ``ValueError``."""
    if not re.fullmatch(_LABEL, text):
        raise ValueError(f"{text!r} is no namespace: at most 63 of a-z, 0-9 and -, with no - at its ends")
    return text


def parse_node_name(text: str) -> str:
    """The name of a node, or nothing for the one that is found out. Raises ``ValueError``."""
    if text and not _is_subdomain(text):
        raise ValueError(
            f"{text!r} is no node's name: at most 253 of a-z, 0-9, - and ., each part with no - at its ends"
        )
    return text


def parse_annotation(text: str) -> str:
    """The key of an annotation, with or without a prefix, or nothing for none. Raises ``ValueError``."""
    prefix, slash, name = text.rpartition("/")
    if text and not (re.fullmatch(_KEY, name) and (_is_subdomain(prefix) or not slash)):
        raise ValueError(
            f"{text!r} is no annotation such as example.com/name: letters, digits, -, _ and . after one slash"
        )
    return text


def _is_subdomain(text: str) -> bool:
    return len(text) <= _LONGEST_SUBDOMAIN and re.fullmatch(_SUBDOMAIN, text) is not None
