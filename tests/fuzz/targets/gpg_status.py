"""gpg's status lines, as python-gnupg reads them: only what says so without any objection is a good signature."""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
from pathlib import Path
from typing import Final

import gnupg

from tests.fuzz.oracle import demand, refusing
from torcxd.addons.signature import Verifier
from torcxd.errors import PermanentError

ALLOWED: Final = "A" * 40
_OBJECTIONS: Final = (b"BADSIG", b"ERRSIG", b"EXPSIG", b"EXPKEYSIG", b"REVKEYSIG", b"NO_PUBKEY", b"NODATA", b"FAILURE")
WORDS: Final = (
    "[GNUPG:] NEWSIG\n", "[GNUPG:] SIG_ID x 2017-12-06 1512518400\n", "[GNUPG:] GOODSIG AAAAAAAAAAAAAAAA Somebody\n",
    f"[GNUPG:] VALIDSIG {ALLOWED} 2017-12-06 1512518400 0 4 0 1 10 00 {ALLOWED}\n",
    f"[GNUPG:] VALIDSIG {'B' * 40} 2017-12-06 1512518400 0 4 0 1 10 00 {'B' * 40}\n", "[GNUPG:] TRUST_ULTIMATE 0 pgp\n",
    *(f"[GNUPG:] {each.decode()} BBBBBBBBBBBBBBBB " for each in _OBJECTIONS), "1 10 00 1512518400 9 -\n", "\n", "\xff",
)  # fmt: skip

logging.getLogger("gnupg").setLevel(logging.CRITICAL)


def check(data: bytes) -> None:
    """The first byte is gpg's exit code."""
    code, lines = data[0] if data else 0, data[1:]
    gpg = gnupg.GPG.__new__(gnupg.GPG)
    gpg.verbose, gpg.error_map = False, None
    result = gnupg.Verify(gpg)
    # python-gnupg reads in a thread: what it does not understand ends the thread, and the rest stays unread.
    with contextlib.suppress(Exception):
        gpg._read_response(codecs.getreader("latin-1")(io.BytesIO(lines)), result)
    result.returncode = code
    verifier = Verifier(Path("/etc/torcxd/pubring.gpg"), Path("/nonexistent"))
    with refusing(PermanentError):
        signer = verifier._judge(result, frozenset({ALLOWED}), "https://bucket.example/m.asc")
        demand(signer == ALLOWED, "a foreign key")
        demand(code == 0, "gpg failed")
        demand(b"VALIDSIG" in lines and b"GOODSIG" in lines and ALLOWED.encode() in lines, "no signature at all")
        keywords = {
            line[9:].split(None, 1)[0] for line in lines.splitlines() if line[:9] == b"[GNUPG:] " and line[9:].split()
        }
        wrong = keywords.intersection(_OBJECTIONS[:6])
        demand(not wrong, f"gpg says {wrong}")
