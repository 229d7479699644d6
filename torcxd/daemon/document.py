"""The state file's envelope: schema version, checksum, content.

Kept apart from everything else and free of heavy imports, because ``torcxd status`` reads it in a few milliseconds,
also while no daemon runs. The format is documented in docs/state-file.md; a change of the content's meaning raises
``SCHEMA``.
"""

from __future__ import annotations

import json
from hashlib import sha256

# As typing.TYPE_CHECKING, without the milliseconds that importing typing takes: `torcxd status` counts them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

SCHEMA: Final = 1
# A plan names two images and a history of failures one message each; a megabyte is far beyond any honest state file.
LARGEST: Final = 1 << 20


class DamagedDocument(ValueError):
    """The file is not a complete state document of a schema known here."""


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def encode(content: dict[str, Any]) -> bytes:
    """Wrap *content* (JSON types only) with schema version and checksum."""
    envelope = {"schema": SCHEMA, "sha256": sha256(_canonical(content)).hexdigest(), "snapshot": content}
    return json.dumps(envelope, indent=1, sort_keys=True).encode() + b"\n"


def decode(data: bytes) -> dict[str, Any]:
    """Unwrap and check.

    :raises DamagedDocument: saying what is wrong.
    """
    if len(data) > LARGEST:
        raise DamagedDocument(f"it is larger than {LARGEST} bytes")
    try:
        envelope = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedDocument(f"it is not JSON: {error}") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("snapshot"), dict):
        raise DamagedDocument("it is not a state document")
    schema = envelope.get("schema")
    if schema != SCHEMA:
        raise DamagedDocument(f"its schema is {schema!r}, this program reads {SCHEMA}")
    content: dict[str, Any] = envelope["snapshot"]
    try:
        found = sha256(_canonical(content)).hexdigest()
    except RecursionError as error:
        raise DamagedDocument("it is nested beyond all measure") from error
    if envelope.get("sha256") != found:
        raise DamagedDocument("its checksum does not match its content")
    return content
