"""Environment files are read as systemd reads them, and written so that it reads them back."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.errors import EX_DATAERR, EX_NOINPUT, PermanentError, TorcxdError
from torcxd.host.env_file import (
    LARGEST,
    installer_kube_version,
    kubelet_env,
    parse_assignments,
    parse_env_file,
    read_env_file,
    render,
)

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
# Everything that systemd's env_value_is_valid() takes.
values = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in (*range(9), *range(11, 32), 127)])
)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A=", ""),
        ("A=''", ""),
        ("  A = b c \t", "b c"),
        ("A='b $c \\d \"e\"'", 'b $c \\d "e"'),
        ("A=\"b 'c'\"", "b 'c'"),
        (r'A="\"\\\`\$\n"', '"\\`$\\n'),
        (r"A=b\ c\"\ ", 'b c" '),
        ("A=b'c'", "b'c'"),
        ("A='b' \"c\" d e ", "bcd e"),
        ("A=b # c", "b # c"),
        ("A=b=c", "b=c"),
        ("A=b\\\n  c", "b  c"),
        ('A="b\\\nc"', "bc"),
        ('A="b\nc"', "b\nc"),
        ("A=b\\", "b"),
        ("A=b\r", "b"),
        ("A='b'\r", "b"),
        ("A=\tß", "ß"),
    ],
)
def test_a_value_is_read_as_systemd_reads_it(line: str, value: str) -> None:
    assert parse_env_file(f"{line}\n".encode(), "f") == {"A": value}
    if not line.endswith("\\"):
        assert parse_env_file(f"{line}\nB=1\n".encode(), "f") == {"A": value, "B": "1"}
    assert parse_env_file(line.encode(), "f") == {"A": value}


def test_comments_blank_lines_and_carriage_returns_are_skipped() -> None:
    data = b"# one\r\n\r\n; two \\\r\n  \nA=1\r\n\t#A=3\nB=2 ; not a comment"
    assert parse_env_file(data, "f") == {"A": "1", "B": "2 ; not a comment"}


def test_each_assignment_tells_its_line_and_the_last_value_counts() -> None:
    data = b'\n\nA="1\n1"\n# c\nB=2\nA=3\n'
    assert [(each.name, each.line) for each in parse_assignments(data, "f")] == [("A", 3), ("B", 6), ("A", 7)]
    assert parse_env_file(data, "f") == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"A=1\nnonsense\n", "f:2: there is no = on this line"),
        (b"A=1\n\nexport B=1\n", "f:3: export is shell"),
        (b"A-B=1", "f:1: not the name of a variable"),
        (b"=1", "f:1: not the name of a variable"),
        (b"1A=1", "f:1: not the name of a variable"),
        (b"A=1\nB='2\nC=3\n", "f:2: the value of B opens a quote that never ends"),
        (b'B="2\nC=3\n', "f:1: the value of B opens a quote that never ends"),
        (b'B="2\\', "f:1: the value of B opens a quote that never ends"),
        (b"A=1\nB=\x07\n", "f:2: the value of B contains a control character"),
        (b"A=1\n\x00\n", "f:2: contains a NUL byte"),
        (b"A=1\nB=\xff\n", "f:2: is not UTF-8"),
    ],
)
def test_what_systemd_would_skip_is_an_error_that_names_file_and_line(data: bytes, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_env_file(data, "f")
    assert message in str(caught.value)
    assert caught.value.exit_code == EX_DATAERR


@given(st.dictionaries(names, values))
def test_what_is_rendered_is_read_back_in_order(variables: dict[str, str]) -> None:
    assert list(parse_env_file(render(variables), "f").items()) == list(variables.items())


@given(names, values)
def test_a_shell_reads_the_same(name: str, value: str) -> None:
    # shlex knows two of the four escapes of a shell's double quotes; the other two it leaves as they are.
    line = render({name: value}).decode().replace("\\`", "`").replace("\\$", "$")
    if "\\" not in value:
        assert shlex.split(line) == [f"{name}={value}"]


@given(st.text(st.sampled_from("AB=\\\"'`$ #;\t\r\nß"), max_size=40))
def test_any_text_is_read_or_refused_and_what_is_read_can_be_rendered(text: str) -> None:
    variables = {}
    with contextlib.suppress(PermanentError):
        variables = parse_env_file(text.encode(), "f")
    assert parse_env_file(render(variables), "f") == variables


@pytest.mark.parametrize("variables", [{"A B": "1"}, {"": "1"}, {"A": "\0"}, {"A": "a\rb"}])
def test_what_no_environment_file_can_hold_is_not_rendered(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"variable|control character"):
        render(variables)


def test_a_missing_or_huge_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.env"
    with pytest.raises(TorcxdError, match=r"kubelet\.env: No such file") as caught:
        read_env_file(path)
    assert caught.value.exit_code == EX_NOINPUT
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(PermanentError, match=r"kubelet\.env: larger than"):
        read_env_file(path)


@pytest.mark.accepts("A25")
def test_kubelet_env_keeps_the_installers_other_keys_in_order(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.env"
    path.write_text('B="2"\nKUBELET_IMAGE_TAG="v1.7.5_coreos.0"\nKUBELET_IMAGE_URL="quay.io/mirror/hyperkube"\nA=1\n')
    env = kubelet_env(read_env_file(path), "v1.8.4+coreos.0")
    assert render(env) == (
        b'B="2"\nKUBELET_IMAGE_TAG="v1.8.4_coreos.0"\nKUBELET_IMAGE_URL="quay.io/mirror/hyperkube"\nA="1"\n'
    )


@pytest.mark.accepts("A25")
def test_kubelet_env_without_the_installers_file_names_the_default_image() -> None:
    assert render(kubelet_env({}, "v1.8.4+coreos.0")) == (
        b'KUBELET_IMAGE_URL="quay.io/coreos/hyperkube"\nKUBELET_IMAGE_TAG="v1.8.4_coreos.0"\n'
    )


@pytest.mark.accepts("A12", "A22")
def test_the_installers_version_is_the_image_tag_with_plus_for_underscore() -> None:
    env = parse_env_file(b'KUBELET_IMAGE_TAG="v1.8.4_coreos.0"\n', "f")
    assert installer_kube_version(env, "f") == "v1.8.4+coreos.0"


@pytest.mark.accepts("A12")
@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "/etc/kubelet.env has no KUBELET_IMAGE_TAG"),
        ({"KUBELET_IMAGE_TAG": ""}, "/etc/kubelet.env has an empty KUBELET_IMAGE_TAG"),
        ({"KUBELET_IMAGE_TAG": "latest"}, "/etc/kubelet.env: KUBELET_IMAGE_TAG: not a Kubernetes version"),
    ],
)
def test_a_missing_version_names_file_and_key(env: dict[str, str], message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        installer_kube_version(env, "/etc/kubelet.env")
    assert message in str(caught.value)
    assert "--force-kube-version" in caught.value.hint
    assert caught.value.exit_code == EX_DATAERR
