"""Takes defences out of the real program: each function is called in its process before it starts."""

from __future__ import annotations

from typing import Any

from torcxd.addons import partial, signature, staging, store
from torcxd.addons.hashing import Digests
from torcxd.addons.partial import PartialFile
from torcxd.addons.signature import Verifier
from torcxd.daemon import addons
from torcxd.host.files import read_bytes
from torcxd.lifecycle.catalog import Digest


def no_judgement() -> None:
    """Any signature will do."""
    Verifier._judge = lambda self, result, *_: "any"  # type: ignore[method-assign]


def no_digests() -> None:
    """A file has the digest that it should have."""
    found, of = PartialFile.found, Digests.of

    def as_named(self: Digests, path: Any, algorithm: str) -> Digest:
        name, _, digits = path.name.partition("-")
        return Digest(algorithm, digits) if name == algorithm else of(self, path, algorithm)

    PartialFile.found = lambda self: self._digest if self.size else found(self)  # type: ignore[method-assign]
    Digests.of = as_named  # type: ignore[method-assign]


def no_owners() -> None:
    """Whoever can write a file, it is taken for ours."""
    for module in (partial, staging, store, signature):
        vars(module)["untrusted"] = lambda _found: ""
    vars(signature)["read_trusted"] = read_bytes


def no_redaction() -> None:
    """A URL is told with all that is in it."""
    vars(addons)["redact"] = lambda url: url
