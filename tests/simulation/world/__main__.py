"""``python -m tests.simulation.world``: let the story of a seed happen again, or make it shorter.

python -m tests.simulation.world --seed 17            # what happens, line by line, and what is wrong with it
python -m tests.simulation.world --seed 17 --shrink   # the same, with the events that it takes
python -m tests.simulation.world --story file.json    # a story that was kept
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.simulation.world.run import run
from tests.simulation.world.shrink import kinds, shrink
from tests.simulation.world.story import Story, make


def main() -> int:
    """The program: 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.world",
        description="Let one story of the simulation happen, and tell it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=__doc__,
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--seed", type=int, help="the seed whose story it is")
    chosen.add_argument("--story", type=Path, metavar="FILE", help="a story as JSON, as --save writes it")
    parser.add_argument("--shrink", action="store_true", help="leave out all events that the violation does not need")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the story there")
    options = parser.parse_args()
    story = Story.from_json(options.story.read_text()) if options.story else make(options.seed)
    outcome = run(story)
    if options.shrink and outcome.violations:
        wrong = kinds(outcome.violations)
        story = shrink(story, lambda shorter: bool(wrong & kinds(run(shorter).violations)))
        outcome = run(story)
    if options.save:
        options.save.write_text(story.to_json())
    print("\n".join(outcome.trace))
    print(tell(story, outcome.violations))
    print(f"every byte sent: {outcome.digest}")
    return 1 if outcome.violations else 0


def tell(story: Story, violations: tuple[str, ...]) -> str:
    """The story and what is wrong with it, for people."""
    about = {"attendant": story.attendant, "operator": story.operator, "offered": story.offered, **story.settings}
    lines = [f"seed {story.seed}: " + ", ".join(f"{name} {value}" for name, value in about.items())]
    lines += [f"  {each}" for each in story.events]
    lines += [f"  VIOLATION {each}" for each in violations] or ["  all is well"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
