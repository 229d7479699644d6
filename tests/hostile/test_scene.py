"""The stage itself: with nobody in between, the image gets where it belongs; and an attack that cannot fail is none."""

from __future__ import annotations

import pytest

from tests.explored import Explored
from tests.hostile.attack import _judge
from tests.hostile.scene import IMAGE, OS, Scene


async def test_without_an_attacker_the_image_is_placed(scene: Scene) -> None:
    assert await scene.stage() == ""
    assert scene.error is None
    assert scene.node.layout.user_store.joinpath(OS, IMAGE.file_name).read_bytes() == IMAGE.data


async def test_what_nobody_signed_is_named(scene: Scene) -> None:
    scene.node.write(f"/var/lib/torcx/store/{OS}/{IMAGE.file_name}", b"planted")
    scene.node.write("/etc/docker:17.03.torcx.tgz", b"planted")
    assert "I2" in scene.judge()
    assert "no place for an image" in scene.judge()


def test_an_attack_that_succeeds_or_proves_nothing_is_a_failure() -> None:
    counted = Explored()
    _judge(False, counted, "")
    _judge(True, counted, "something")
    with pytest.raises(AssertionError, match="the attack succeeds: root's password"):
        _judge(False, counted, "root's password")
    with pytest.raises(AssertionError, match="proves nothing"):
        _judge(True, counted, "")
