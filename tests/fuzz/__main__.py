"""``python -m tests.fuzz TARGET … [-- libFuzzer's flags]``: search for inputs that break a parser; see ``--help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import engine


def main() -> int:
    """The program."""
    given = sys.argv[1:]
    own, flags = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Fuzz parsers, one after the other, guided by what their code covers.",
        epilog="targets: " + ", ".join(engine.names()) + ". Flags after -- are libFuzzer's, as -max_total_time=60; "
        "-help=1 lists them. What a target fails on is written to the present folder; give it to --replay.",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[*engine.names(), []], help="default: all")
    parser.add_argument("--replay", metavar="FILE", nargs="+", default=[], help="only run these inputs")
    parser.add_argument("--keep", action="store_true", help="add what covers more to the corpus (to be minimised)")
    parser.add_argument("--minimise", action="store_true", help="keep of the corpus what covers something")
    options = parser.parse_args(own)
    for each in options.replay:
        if not Path(each).is_file():
            parser.error(f"--replay: there is no file {each}")
    failed = []
    for name in options.targets or engine.names():
        if options.replay:
            for each in options.replay:
                engine.replay(name, each)
                print(f"{name}: nothing breaks with {each}")
        elif options.minimise:
            engine.minimise(name)
        elif engine.fuzz([name], flags, keep=options.keep)[name].failed:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
