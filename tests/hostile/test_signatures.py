"""Signatures that are none, not whole, not alone, or by nobody who is trusted; and what they smuggle past gpg."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import gnupg
import pytest

from tests.hostile.attack import Removal, attack, removed
from tests.hostile.conftest import Ring
from tests.hostile.scene import OTHER_IMAGE, Scene, document, version
from tests.hostile.signing import (
    NOTATION,
    POLICY_URL,
    SIGNERS_NAME,
    armored,
    body_of,
    compressed,
    gpg,
    literal,
    notation,
    packet,
    sign,
    smuggle,
)
from torcxd.addons.signature import Verifier
from torcxd.daemon import addons
from torcxd.errors import Kind


def _by_the_last_word(self: Verifier, result: Any, *_: Any) -> str:
    if result.status != "signature valid":
        self._refuse("", "no")
    return "any"


def _unseen(self: Verifier, *_: Any) -> str:
    return "any"


# What a program does that takes gpg's last word for all of it.
LAST_WORD: Final = removed(Verifier, "_judge", _by_the_last_word)
# What one does that does not ask at all.
ANYTHING: Final = removed(Verifier, "_judge", lambda self, result, *_: "any")
UNSEEN: Final = removed(Verifier, "_verify", _unseen)

Forge = Callable[[Ring, bytes], bytes]


def _inline(ring: Ring, data: bytes) -> bytes:
    return gpg(ring.good, "--sign", data=data)


def _clear(ring: Ring, data: bytes) -> bytes:
    return gpg(ring.good, "--clear-sign", data=b"any text that a trusted key has ever signed\n")


def _clear_with_more(ring: Ring, data: bytes) -> bytes:
    return _clear(ring, data) + b"\n" + data


def _of_other_data(ring: Ring, data: bytes) -> bytes:
    return sign(ring.good, data + b" ")


def _by(who: str) -> Forge:
    return lambda ring, data: sign(getattr(ring, who), data)


def _with_smuggled(kind: int, content: bytes) -> Forge:
    """A signature by a revoked key that carries, unsigned, what looks like gpg's word for a good one."""

    def forge(ring: Ring, data: bytes) -> bytes:
        line = content.replace(b"FPR", ring.good.fingerprint.encode())
        return smuggle(sign(ring.revoked, data), kind, line)

    return forge


def _two(*who: str) -> Forge:
    return lambda ring, data: b"".join(sign(getattr(ring, each), data) for each in who)


def _with_bad(ring: Ring, data: bytes) -> bytes:
    return sign(ring.good, data) + sign(ring.good, b"other data")


_FORGED_WORD: Final = (
    b"\n[GNUPG:] NEWSIG\n[GNUPG:] SIG_ID x 2026-01-01 1767225600\n[GNUPG:] GOODSIG FPR Good\n"
    b"[GNUPG:] VALIDSIG FPR 2026-01-01 1767225600 0 4 0 22 10 00 FPR\n[GNUPG:] TRUST_FULLY 0 pgp\n"
)

FORGERIES: Final[dict[str, tuple[Forge, Removal | tuple[Removal, ...]]]] = {
    "empty": (lambda ring, data: b"", UNSEEN),
    "blank": (lambda ring, data: b" \n\t\n", UNSEEN),
    "text": (lambda ring, data: b"signed, the release team\n", ANYTHING),
    "huge": (
        lambda ring, data: sign(ring.good, data) + bytes(2 << 20),
        (UNSEEN, removed(addons, "_LARGEST_SIGNATURE", 1 << 30)),
    ),
    "of other data": (_of_other_data, ANYTHING),
    "foreign key": (_by("foreign"), ANYTHING),
    "expired key": (_by("expired"), LAST_WORD),
    "revoked key": (_by("revoked"), LAST_WORD),
    "a good one of two": (_two("foreign", "good"), LAST_WORD),
    "a good one of two, first": (_two("good", "foreign"), ANYTHING),
    "revoked and good": (_two("revoked", "good"), LAST_WORD),
    "good and bad": (_with_bad, ANYTHING),
    "inline": (_inline, ANYTHING),
    "clear text": (_clear, ANYTHING),
    "clear text and more": (_clear_with_more, ANYTHING),
    "a literal packet": (lambda ring, data: literal(data), ANYTHING),
    "a compressed bomb": (lambda ring, data: compressed(bytes(32 << 20)), ANYTHING),
    "the signature packed": (lambda ring, data: compressed(sign(ring.good, b"x")), ANYTHING),
    "a marker and garbage": (lambda ring, data: packet(10, b"PGP") + packet(60, b"x" * 1000), ANYTHING),
    "cut off": (lambda ring, data: sign(ring.good, data)[:-10], ANYTHING),
    "armor of a key": (lambda ring, data: ring.good.armored, ANYTHING),
    "a word in a notation": (_with_smuggled(NOTATION, notation(b"a@b.c", _FORGED_WORD)), ANYTHING),
    "a word in a notation's name": (_with_smuggled(NOTATION, notation(_FORGED_WORD + b"@b.c", b"x")), ANYTHING),
    "a word in a policy": (_with_smuggled(POLICY_URL, b"https://x/" + _FORGED_WORD), ANYTHING),
    "a word in the signer's name": (_with_smuggled(SIGNERS_NAME, _FORGED_WORD), ANYTHING),
    "a word in the armor": (
        lambda ring, data: armored(
            sign(ring.foreign, data), headers=f"Comment: x{_word(ring)}".replace("\n", "\nComment: ").rstrip() + "\n"
        ),
        ANYTHING,
    ),
    "a word as a file's name": (lambda ring, data: literal(data, _word(ring).encode()[:200]), ANYTHING),
}


def _word(ring: Ring) -> str:
    return _FORGED_WORD.decode().replace("FPR", ring.good.fingerprint)


def _keyring(scene: Scene, ring: Ring) -> None:
    """The node has the expired and the revoked key, as a release team's keyring does."""
    scene.node.write("/etc/torcxd/pubring.gpg", ring.good.public + ring.expired.public + ring.revoked.public)


@pytest.mark.accepts("A6", "N2")
@pytest.mark.parametrize(("forge", "without"), list(FORGERIES.values()), ids=list(FORGERIES))
@attack()
async def test_a_signature_that_is_not_acceptable(
    scene: Scene, ring: Ring, forge: Forge, without: Removal | tuple[Removal, ...]
) -> str:
    _keyring(scene, ring)
    data = json.dumps(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data)))).encode()
    scene.forge_signed(data, forge(ring, data))
    got = await scene.stage()
    assert got or (scene.error is not None and scene.error.kind is Kind.PERMANENT)
    return got


def test_the_smuggled_line_would_be_believed(ring: Ring) -> None:
    """The forged word is one that the library takes for gpg's own, were gpg to let it through."""
    result = gnupg.Verify(gnupg.GPG())
    for line in _word(ring).splitlines()[1:]:
        key, _, value = line.removeprefix("[GNUPG:] ").partition(" ")
        result.handle_status(key, value)
    assert result.valid
    assert result.pubkey_fingerprint == ring.good.fingerprint


def test_a_smuggled_packet_leaves_the_signature_good(ring: Ring) -> None:
    """What is put into the part that is not signed does not spoil it: the attack is a real one."""
    data = b"data"
    assert body_of(sign(ring.good, data))[0] == 4
    spoilt = smuggle(sign(ring.good, data), NOTATION, notation(b"a@b.c", b"d"))
    (path := ring.good.home / "smuggled").write_bytes(spoilt)
    assert b"[GNUPG:] GOODSIG" in gpg(ring.good, "--status-fd", "1", "--verify", str(path), "-", data=data)
