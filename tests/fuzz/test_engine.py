"""That a target can fail: each kind of misbehaviour is a finding, and nothing else is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.fuzz import engine, oracle
from torcxd.errors import PermanentError, TransientError


def test_each_kind_of_misbehaviour_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        with oracle.refusing(PermanentError, secrets=("sesame-open",)):
            match data:
                case b"fine":
                    raise PermanentError("refused")
                case b"kind":
                    raise TransientError("of another kind than is documented")
                case b"leak":
                    raise PermanentError("the token is sesame-open")
                case b"hint":
                    raise PermanentError("refused", hint="do not use sesame-open")
                case b"type":
                    raise KeyError("x")
                case _:
                    oracle.demand(data == b"good", "what was read is not what was written")

    module = ModuleType("tests.fuzz.targets.broken")
    module.check = check  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests.fuzz.targets.broken", module)
    found = {}
    for each in (b"good", b"fine", b"kind", b"leak", b"hint", b"type", b"else"):
        try:
            engine.replay("broken", oracle.put(tmp_path / "input", each))
        except Exception as error:
            found[each] = type(error)
    violation = oracle.Violation
    assert found == {
        b"kind": TransientError, b"leak": violation, b"hint": violation, b"type": KeyError, b"else": violation,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\ud800", "x" * 5000])
def test_what_no_log_takes_is_a_finding(text: str) -> None:
    with pytest.raises(oracle.Violation):
        oracle.fit_for_a_log(text)
