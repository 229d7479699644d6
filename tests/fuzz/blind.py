"""A search without a guide, for machines that atheris has no wheel for: what is kept, mixed and damaged at random."""

from __future__ import annotations

import importlib
import random

from tests.fuzz import engine


def search(name: str, runs: int, seed: int) -> None:
    """Try *runs* inputs on the target *name*, the same for the same *seed*.

    :raises AssertionError: names an input that the target fails on.
    """
    dice = random.Random(f"{name} {seed}")
    inputs = [each.read_bytes() for each in engine.corpus(name)]
    words = [each.encode() for each in getattr(importlib.import_module(f"tests.fuzz.targets.{name}"), "WORDS", ("\0",))]
    check = engine.load(name)
    for _ in range(runs):
        data = dice.choice(inputs)
        for _ in range(dice.randint(1, 4)):
            data = _changed(data, dice, inputs, words)
        try:
            check(data[: engine.LONGEST])
        except Exception as error:
            raise AssertionError(f"{name} fails on {data!r}") from error


def _changed(data: bytes, dice: random.Random, inputs: list[bytes], words: list[bytes]) -> bytes:
    at = dice.randint(0, len(data))
    end = min(len(data), at + dice.choice((1, 1, 2, 8, 64)))
    match dice.randint(0, 4):
        case 0:
            return data[:at] + bytes([dice.randrange(256)]) + data[end:]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + dice.choice(words) + data[at:]
        case 3:
            return data[:end] + data[at:]
        case _:
            other = dice.choice(inputs)
            return data[:at] + other[dice.randint(0, len(other)) :]
