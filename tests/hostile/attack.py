"""Attacks, each carried out twice: on the program as it is, and on one whose defence was taken out.

An attack is a test that returns what the attacker has got, in a few words, or an empty string when it got nothing. Once
it has to come back empty-handed. The other time it has to succeed: so the test proves that it is this defence that
repels it, and that it would notice.

    @attack(removed(names, "component", lambda text: text))
    async def test_a_name_that_leaves_the_store(scene: Scene) -> str:
        ...

Where the cases of one test have different defences, they are the parameter ``without``, one or a tuple of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.explored import Explored

Test = Callable[..., Any]
_ADDED: Final = ("disarmed", "monkeypatch", "explored")


@dataclass(frozen=True, slots=True)
class Removal:
    """A defence, and what stands in its place when it is taken out."""

    owner: object
    name: str
    replacement: Any


def removed_in_program(name: str) -> Removal:
    """A defence that *name*, a function of :mod:`tests.hostile.disarmed`, takes out of the real program.

    The test takes ``disarmed`` and starts the program accordingly.
    """
    return Removal(None, name, None)


def removed(owner: object, name: str, replacement: Any) -> Removal:
    """The defence ``owner.name``, replaced by *replacement*."""
    if not hasattr(owner, name):
        raise AttributeError(f"there is no defence {name} in {owner}")
    return Removal(owner, name, replacement)


def attack(*defences: Removal) -> Callable[[Test], Test]:
    """Make two tests of one: the attack with its *defences*, and without them."""

    def decorate(test: Test) -> Test:
        own = inspect.signature(test).parameters

        def prepare(arguments: dict[str, Any]) -> Callable[[str], None]:
            disarmed, monkeypatch, explored = (arguments[each] for each in _ADDED)
            for name in _ADDED:
                if name not in own:
                    del arguments[name]
            out = (*defences, *_several(arguments.get("without", ())))
            assert out, "an attack has a defence that repels it"
            if disarmed:
                for each in out:
                    if each.owner is None:
                        continue
                    monkeypatch.setattr(each.owner, each.name, each.replacement)
            return functools.partial(_judge, disarmed, explored)

        if inspect.iscoroutinefunction(test):

            @functools.wraps(test)
            async def both(**arguments: Any) -> None:
                judge = prepare(arguments)
                judge(await test(**arguments))

        else:

            @functools.wraps(test)
            def both(**arguments: Any) -> None:
                judge = prepare(arguments)
                judge(test(**arguments))

        added = [each for each in _ADDED if each not in own]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [each.replace(kind=keyword) for each in own.values()]
        parameters += [inspect.Parameter(each, keyword) for each in added]
        both.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        mark = pytest.mark.parametrize("disarmed", [False, True], ids=["defended", "disarmed"])
        marked: Test = mark(both)
        return marked

    return decorate


def _several(without: Removal | tuple[Removal, ...]) -> tuple[Removal, ...]:
    return (without,) if isinstance(without, Removal) else without


def _judge(disarmed: bool, explored: Explored, won: str) -> None:
    if disarmed:
        assert won, "the attack fails without its defence, too: this test proves nothing"
        explored.count("attacks", "that succeed without their defence")
    else:
        assert not won, f"the attack succeeds: {won}"
        explored.count("attacks", "repelled")


async def anything(*_arguments: Any, **_keywords: Any) -> Any:
    """What is awaited, and does nothing."""
    return None


def nothing(*_arguments: Any, **_keywords: Any) -> Any:
    """A check that lets everything pass."""
    return None


def unchanged(value: Any, *_arguments: Any, **_keywords: Any) -> Any:
    """A check that hands on what it is given."""
    return value
