"""The error type: what it says fits into one line of a log, whatever it quotes."""

from __future__ import annotations

import errno

from torcxd.errors import PermanentError, TransientError, from_os_error


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    error = PermanentError("it says a\nMar 01 node sshd: forged \x1b[2J \ud800 ü →", hint="b\r")
    assert str(error) == "it says a?Mar 01 node sshd: forged ?[2J ? ü → (b?)"
    assert error.args == (error.message,)


def test_an_endless_message_is_cut() -> None:
    assert PermanentError("x" * 2000).message == "x" * 2000
    assert PermanentError("x" * 3_000_000).message == "x" * 2000 + "…"


def test_a_path_of_any_bytes_can_be_told() -> None:
    error = from_os_error(
        OSError(errno.ENOSPC, "No space left on device"), "write", b"/a\xff\n".decode(errors="surrogateescape")
    )
    assert isinstance(error, TransientError)
    assert error.message == "cannot write /a??: No space left on device"
