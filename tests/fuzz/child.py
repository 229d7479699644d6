"""The process below :mod:`tests.fuzz.engine` that libFuzzer lives in: it counts edges, and ends with its process.

So the targets are loaded and instrumented once, and each is fuzzed in a fork.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import atheris

from tests.fuzz.engine import CORPUS, LONGEST, MEMORY, TIMEOUT, load

# Besides the program, what parses for it and is written in Python.
_INSTRUMENTED: Final = ["torcxd", "yaml", "h11", "jeepney", "gnupg", "email", "shlex", "urllib", "ipaddress"]


def main() -> int:
    """The program."""
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--merge", type=Path)
    parser.add_argument("--inner", action="store_true")
    options = parser.parse_args(sys.argv[1:at])
    with atheris.instrument_imports(include=_INSTRUMENTED):
        # Only now, since it loads the program's errors.
        from tests.fuzz.oracle import forget

        for each in options.targets:
            load(each)
    ends = []
    for each in options.targets:
        pid, code = _fork(each, options, sys.argv[at + 1 :])
        forget(pid)
        ends.append(code)
    return max(ends, default=0)


def _fork(name: str, options: argparse.Namespace, flags: list[str]) -> tuple[int, int]:
    print(f"== fuzzing {name}", flush=True)
    process = os.fork()
    if not process:
        _fuzz(name, options, flags)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    print(f"== ended with {code}", flush=True)
    return process, int(code != 0)


def _fuzz(name: str, options: argparse.Namespace, flags: list[str]) -> None:
    limits = [f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}", f"-max_len={LONGEST}"]
    # For a merge libFuzzer starts itself again, as a shell does, and adds its flags: that one is told apart by --inner.
    itself = f"{sys.executable} -m tests.fuzz.child {name} --directory={options.directory} --inner --"
    if options.inner:
        arguments = []
    elif options.merge:
        arguments = ["-merge=1", str(options.directory), str(options.merge)]
    else:
        kept, new, words = CORPUS / name, options.directory / name, options.directory / f"{name}.words"
        kept.mkdir(parents=True, exist_ok=True)
        new.mkdir()
        # A dictionary without a word is an error.
        words.write_text(_dictionary(name) or '"\\x00"\n', encoding="ascii")
        # libFuzzer adds to the first folder.
        arguments = [f"-dict={words}", *([str(kept)] if options.keep else [str(new), str(kept)])]
    atheris.Setup([itself, *limits, *flags, *arguments], load(name))
    atheris.Fuzz()


def _dictionary(name: str) -> str:
    """The target's words in the form that libFuzzer reads."""
    module = sys.modules[f"tests.fuzz.targets.{name}"]
    words = getattr(module, "WORDS", ())
    escaped = ("".join(f"\\x{byte:02x}" for byte in each.encode()) for each in words)
    return "".join(f'"{each}"\n' for each in escaped)


if __name__ == "__main__":
    sys.exit(main())
