"""What happens around the process: what the world does by itself, its boots, and what the sources report of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.model.scopes import Scope
from tests.model.shell import NOW, seen
from tests.model.world import NOTHING, OWN, PREFERRED, VERSIONS, World, boot, forgotten, mappings, update
from torcxd.lifecycle import events


class Happening(NamedTuple):
    """Something that happens to the world.

    :param label: for people.
    :param benign: whether it happens where nothing goes wrong.
    :param world: what it leaves behind.
    """

    label: str
    benign: bool
    world: World


class Boot(NamedTuple):
    """A boot.

    :param counted: whether it is one of those that :attr:`Scope.most_boots` bounds.
    """

    label: str
    benign: bool
    counted: bool
    world: World


class Report(NamedTuple):
    """What a source may report at any time.

    :param true: whether it is the truth in that world.
    """

    label: str
    event: events.Event
    true: Callable[[World], bool]


def happenings(world: World, scope: Scope) -> Iterator[Happening]:
    """What the world does by itself; some of it may change nothing."""
    yield from _engine(world, scope)
    if scope.kubes > 1:
        yield Happening("the cluster moves", False, world._replace(kube=1 - world.kube))
    if scope.policy.attends:
        yield Happening("the operator asks", False, world._replace(hook=True))
        withdrawn = world._replace(hook=False, answered=False, expected=None)
        yield Happening("the operator withdraws", False, withdrawn)
    yield Happening("staging is emptied", False, world._replace(staged=frozenset()))
    if scope.damage:
        for each in sorted(world.stored):
            removed = world._replace(stored=world.stored - {each})
            yield Happening(f"somebody removes the image for {each[0]}", False, removed)
        # Whose data lie there is that somebody's business, too.
        yield Happening("somebody pins another Docker", False, world._replace(pin=OWN, data=None))


def _engine(world: World, scope: Scope) -> Iterator[Happening]:
    """What update_engine does: an update comes, is reset, is superseded by another one, or loses its name."""

    def to(engine: str, version: str | None, *, benign: bool = False) -> Happening:
        after = world._replace(engine=engine, newer=version)
        return Happening(f"update_engine: {world.engine} to {engine} {version or ''}".rstrip(), benign, after)

    match world.engine:
        case "idle":
            for version in scope.newer(world.os):
                yield to("coming", version)
                yield to("installed", version)
        case "coming":
            yield to("installed", world.newer, benign=scope.policy.attends)
        case "installed" if scope.forgets:
            yield to("forgot", world.newer)
    if world.engine != "idle":
        # What is withdrawn is not what the next boot brings in vain; what else was asked for still is.
        happening = to("idle", None)
        withdrawn = world.expected is not None and world.expected[0] == world.newer
        yield happening._replace(world=happening.world._replace(expected=None)) if withdrawn else happening


def boots(world: World, scope: Scope, *, wanted: bool) -> Iterator[Boot]:
    """The boots that may come.

    :param wanted: it was asked for, or is all that is left to people.
    """
    if scope.vain:
        yield Boot("a boot in which torcx fails", wanted, not wanted, boot(world, unsealed=True))
        return
    yield Boot("a boot", wanted, not wanted, boot(world))
    if world.update:
        yield Boot("a boot that falls back", False, True, boot(world, rolled_back=True))
    if scope.damage:
        yield Boot("a boot in which torcx fails", False, True, boot(world, unsealed=True))


def reports(scope: Scope) -> Iterator[Report]:
    """What the sources can report: the truth, what was true, and what never was."""
    newer = scope.newer(VERSIONS[0])
    coming = [update(version, pending, scope.marks) for version in newer for pending in (False, True)]
    nameless = [forgotten(each) for each in coming if each.pending and scope.forgets]
    for each in (NOTHING, *coming, *nameless):
        label = f"update_engine: {each.version}, {each.pending} {each.installation}".rstrip()
        yield Report(label, seen(each), _says(each))
    yield Report("update_engine is not heard", events.OsUpdateLost(NOW), _never)
    for asked in (False, True):
        for answered in (False, True):
            report = events.HookAsked(NOW, asked, answered)
            yield Report(f"the operator: {asked}, {answered}", report, _asks(asked, answered))
    if scope.serves:
        for number, kube in enumerate(scope.kube_versions):
            yield Report(f"the cluster: {kube}", events.ClusterChanged(NOW, kube), _is_at(number))
            # Mappings that go with the other version are edited ones.
            edited = events.ClusterChanged(NOW, None, mappings(kube))
            yield Report(f"the mappings: {PREFERRED[kube]}", edited, _never)
        yield Report("no mappings", events.ClusterChanged(NOW, None, None), _never)


def _says(update_: object) -> Callable[[World], bool]:
    return lambda world: world.seen == update_


def _asks(asked: bool, answered: bool) -> Callable[[World], bool]:
    return lambda world: (world.hook, world.answered) == (asked, answered)


def _is_at(number: int) -> Callable[[World], bool]:
    return lambda world: world.kube == number


def _never(_: World) -> bool:
    return False
