"""Environment files and os-release: what is accepted is read as systemd itself reads it,
what is written as a shell does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.explored import Explored
from tests.properties.examples import examples, folder, tried
from torcxd.errors import PermanentError
from torcxd.host.env_file import IMAGE_TAG, kubelet_env, parse_env_file, render
from torcxd.host.os_release import BOARDS, read_os_release

# What systemd-tmpfiles puts in for a specifier, taken from os-release: tmpfiles.d(5), "Specifiers". It reads that file
# with the parser of EnvironmentFile=, systemd's src/basic/env-file.c.
SPECIFIERS = {"ID": "%o", "VERSION_ID": "%w", "BUILD_ID": "%B", "VARIANT_ID": "%W"}
NAMES = st.sampled_from(sorted(SPECIFIERS))
# fmt: off
PIECES = st.sampled_from([
    "a", "b c", "x", " ", "  ", "\t", "'", '"', "\\", "\\n", "\\\n", "\\\\", '\\"', "\\'", "$", "\\$", "`", "\\`", "#",
    ";", "=", "é", "'single quoted'", '"double quoted"', "\r", "'a\nb'", "\\\r", '"a\\nb"', '"\\$\\`\\"\\\\"',
])
# fmt: on
VALUES = st.lists(PIECES, max_size=6).map("".join)
BLANKS = st.sampled_from(["", " ", "\t", "\n", "# comment\n", "; a \\ b\n", " \n#\n"])
ASSIGNMENTS = st.tuples(
    BLANKS, NAMES, st.sampled_from(["=", "=", "= ", " =", "=\t"]), VALUES, st.sampled_from(["\n", "\r\n", " \n"])
)
TEXTS = st.lists(ASSIGNMENTS.map("".join), min_size=1, max_size=5).map("".join)
BAR = "|"
# systemd before 254 took the line after such a one for a part of the comment, later ones do not; neither does torcxd.
CONTINUED_COMMENT = re.compile(r"(?:^|[\n\r])[ \t]*[#;][^\n\r]*\\(?:[\n\r]|$)")


def systemd_reads(text: str) -> dict[str, str]:
    """The values that systemd finds in an os-release with *text*."""
    with folder() as directory:
        root = Path(directory)
        (root / "etc").mkdir()
        (root / "etc" / "os-release").write_bytes(text.encode())
        (root / "out").mkdir()
        (root / "rules").write_text(
            "".join(f"f /out/{name} - - - - {BAR}{each}{BAR}\n" for name, each in SPECIFIERS.items())
        )
        command = ["systemd-tmpfiles", f"--root={root}", "--create", str(root / "rules")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        written = {each.name: each.read_bytes().decode() for each in (root / "out").iterdir()}
        assert written.keys() == SPECIFIERS.keys(), f"{done.stderr}\n{text!r}"
        return {name: value.removeprefix(BAR).removesuffix(BAR) for name, value in written.items()}


def test_systemd_is_asked_rightly() -> None:
    assert systemd_reads("ID='a b'\nVERSION_ID=1 \nBUILD_ID=\"x\\\ny\"\n") == {
        "ID": "a b", "VERSION_ID": "1", "BUILD_ID": "xy", "VARIANT_ID": "",
    }  # fmt: skip


def test_what_is_accepted_is_read_as_systemd_reads_it(explored: Explored) -> None:
    accepted = 0

    @examples(90)
    @given(TEXTS)
    def compare(text: str) -> None:
        nonlocal accepted
        tried()
        try:
            mine = parse_env_file(text.encode(), "os-release")
        except PermanentError:
            # systemd passes over what it cannot read; torcxd does not.
            return
        if CONTINUED_COMMENT.search(text):
            return
        accepted += 1
        assert {name: mine.get(name, "") for name in SPECIFIERS} == systemd_reads(text)

    compare()
    # Most of what is made up has to be readable, or nothing was compared.
    assert accepted > 40
    explored.count("properties", "files compared with systemd", accepted)


VARIABLES = st.dictionaries(
    st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n'\"\\$`# "), max_size=12),
    min_size=1,
    max_size=4,
)


def shell_reads(path: Path, names: Mapping[str, str]) -> list[str]:
    script = f'. {path}; for n in {" ".join(names)}; do eval "printf \'%s\\0\' \\"\\${{$n}}\\""; done'
    done = subprocess.run(["env", "-i", "/bin/sh", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@examples(40)
@given(
    VARIABLES.filter(
        lambda each: not each.keys() & {"IFS", "PWD", "OLDPWD", "PPID", "PS1", "PS2", "PS4", "OPTIND", "_"}
    )
)
def test_what_is_written_a_shell_reads_as_it_is(variables: dict[str, str]) -> None:
    tried()
    with folder() as directory:
        path = Path(directory, "kubelet.env")
        path.write_bytes(render(variables))
        assert shell_reads(path, variables) == list(variables.values())


@examples(150)
@given(VARIABLES, st.sampled_from(["v1.8.4+coreos.0", "1.9.6", "v1.10.0-rc.1+x"]))
def test_kubelet_env_keeps_all_else_in_its_order(variables: dict[str, str], version: str) -> None:
    tried()
    written = parse_env_file(render(kubelet_env(variables, version)), "kubelet.env")
    assert written[IMAGE_TAG] == version.replace("+", "_")
    kept = {name: value for name, value in written.items() if name != IMAGE_TAG}
    assert list(kept.items()) == [each for each in variables.items() if each[0] != IMAGE_TAG]


QUOTES = st.sampled_from(["", "'", '"'])


@examples(150)
@given(
    st.permutations(["ID", "VERSION_ID", "COREOS_BOARD", "FLATCAR_BOARD", "NAME", "PRETTY_NAME"]),
    st.integers(0, 6),
    st.lists(QUOTES, min_size=6, max_size=6),
    st.sampled_from(["coreos", "flatcar"]),
    st.sampled_from(sorted(BOARDS)),
)
def test_an_os_release_in_any_order_and_quotes(
    order: list[str], left_out: int, quotes: list[str], name: str, machine: str
) -> None:
    tried()
    values = {
        "ID": name, "VERSION_ID": "1576.4.0", "COREOS_BOARD": "amd64-usr", "FLATCAR_BOARD": "amd64-usr",
        "NAME": "Container Linux by CoreOS", "PRETTY_NAME": "Ladybug \\$x",
    }  # fmt: skip
    quotes = [quote or '"' if "NAME" in each else quote for each, quote in zip(order, quotes, strict=True)]
    # One of them, or none, is missing.
    kept = [each for index, each in enumerate(order) if index != left_out]
    lines = [
        f"{each}={quote}{values[each]}{quote}\n" for each, quote in zip(order, quotes, strict=True) if each in kept
    ]
    with folder() as directory:
        path = Path(directory, "os-release")
        path.write_text("".join(lines))
        if "VERSION_ID" not in kept:
            with pytest.raises(PermanentError, match="has no VERSION_ID"):
                read_os_release(path, machine=machine)
            return
        release = read_os_release(path, machine=machine)
    # One of the two fields for the board is there in any case, and it counts more than the machine.
    assert (release.version, release.board) == ("1576.4.0", "amd64-usr")
    assert release.id == (name if "ID" in kept else "linux")
