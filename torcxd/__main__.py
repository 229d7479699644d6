"""Entry points. Nothing heavy is imported here: ``torcxd status`` must answer while people wait."""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """``torcxd``: run the command that *argv* names; returns the exit code."""
    _settle_output()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["status"]:
        # The whole parser would cost several times what reading the state file does.
        from torcxd.cli.status import main as status

        return status(arguments[1:])
    from torcxd.cli.dispatch import run

    return run(arguments)


def bootstrap_main(argv: Sequence[str] | None = None) -> int:
    """``tectonic-torcx-bootstrap``: the original's name and defaults for ``torcxd bootstrap`` (A37)."""
    from torcxd.cli.dispatch import run_original_bootstrap

    return run_original_bootstrap(list(sys.argv[1:] if argv is None else argv))


def hook_main(argv: Sequence[str] | None = None) -> int:
    """``tectonic-torcx-hook-pre``: the original's name and defaults for ``torcxd hook`` (A37)."""
    from torcxd.cli.dispatch import run_original_hook

    return run_original_hook(list(sys.argv[1:] if argv is None else argv))


def _settle_output() -> None:
    """Print whatever standard output is: closed by whoever wants the exit code only, or of a narrow encoding."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stays open to the end
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
