"""Settings: one table, four layers, and errors that name the place."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import fields
from pathlib import Path

import pytest

from torcxd.cli.dispatch import read_settings
from torcxd.cli.parser import build, build_original_bootstrap
from torcxd.config_files import LARGEST, load
from torcxd.errors import EX_NOPERM, ConfigurationError, Kind, PermanentError
from torcxd.paths import Layout
from torcxd.settings import DEFAULT_MANIFEST_URL, OPTIONS, Settings, combine, parse_bool, parse_seconds


def parse(tmp_path: Path, *flags: str) -> argparse.Namespace:
    return build().parse_args(["bootstrap", f"--root={tmp_path}", *flags])


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_settings_are_exactly_the_options_in_order() -> None:
    assert [each.name for each in fields(Settings)] == [*(each.name for each in OPTIONS), "origins"]


@pytest.mark.accepts("A7", "N5")
def test_each_setting_knows_where_it_was_given(tmp_path: Path) -> None:
    name = "force_kube_version"
    assert read_settings(parse(tmp_path), {}).origin(name) == name
    path = write(tmp_path, "etc/torcxd/config.yaml", "verbose: debug\nforce-kube-version: v1.8.4\n")
    assert read_settings(parse(tmp_path), {}).origin(name) == f"{path}:2"
    variables = {"TORCXD_FORCE_KUBE_VERSION": "v1.8.5"}
    assert read_settings(parse(tmp_path), variables).origin(name) == "TORCXD_FORCE_KUBE_VERSION"
    settings = read_settings(parse(tmp_path, "--force-kube-version=v1.8.6"), variables)
    assert (settings.force_kube_version, settings.origin(name)) == ("v1.8.6", "--force-kube-version")
    assert settings.origin("verbose") == f"{path}:1"


@pytest.mark.accepts("A4", "A5", "A6", "A7", "A8")
def test_the_documents_defaults() -> None:
    settings = combine()
    assert settings.upgrade_os is True
    assert settings.torcx_skip_setup is False
    assert settings.no_verify_signatures is False
    assert settings.force_kube_version == ""
    assert settings.torcx_profile == "tectonic"
    assert (
        settings.torcx_manifest_url
        == "https://tectonic-torcx.release.core-os.net/manifests/{{.Board}}/{{.OSVersion}}/torcx_manifest.json"
    )


@pytest.mark.parametrize("given", [["--upgrade-os=false"], ["--upgrade-os=F"], ["--upgrade-os=0"]])
def test_a_boolean_flag_in_the_originals_spellings(tmp_path: Path, given: list[str]) -> None:
    assert read_settings(parse(tmp_path, *given), {}).upgrade_os is False


def test_a_boolean_flag_alone_means_true(tmp_path: Path) -> None:
    assert read_settings(parse(tmp_path, "--torcx-skip-setup"), {}).torcx_skip_setup is True


def test_an_empty_manifest_url_means_the_default_as_the_installers_unit_passes_it(tmp_path: Path) -> None:
    assert read_settings(parse(tmp_path, "--torcx-manifest-url="), {}).torcx_manifest_url == DEFAULT_MANIFEST_URL


def test_each_layer_beats_the_one_below(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/torcxd/config.yaml", "torcx_profile: vendor-default\nparallel: 1\nverbose: error\n")
    assert read_settings(parse(tmp_path), {}).torcx_profile == "vendor-default"
    write(tmp_path, "etc/torcxd/config.yaml", "torcx_profile: admin\nparallel: 2\n")
    write(tmp_path, "etc/torcxd/config.d/10-a.yaml", "torcx-profile: first\n")
    write(tmp_path, "etc/torcxd/config.d/20-b.yaml", "torcx-profile: second\n")
    settings = read_settings(parse(tmp_path), {})
    assert (settings.torcx_profile, settings.parallel, settings.verbose) == ("second", 2, "error")
    variables = {"TORCXD_TORCX_PROFILE": "variable", "TORCXD_PARALLEL": "3"}
    assert read_settings(parse(tmp_path), variables).torcx_profile == "variable"
    settings = read_settings(parse(tmp_path, "--torcx-profile=flag"), variables)
    assert (settings.torcx_profile, settings.parallel) == ("flag", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nupgrade: true\n", r"config.yaml:2: unknown setting 'upgrade'"),
        ("parallel: many\n", r"config.yaml:1: parallel: 'many' is not a number"),
        ("parallel: [1]\n", r"config.yaml:1: parallel must be a single value"),
        ("parallel: 1\nparallel: 2\n", r"config.yaml:2: parallel is set twice"),
        ("- a\n", r"config.yaml:1: must be a mapping"),
        ("keyring: /k\na: [\n", r"config.yaml:3: it is not YAML: expected the node content"),
        ("parallel: 1\n verbose: debug\n", r"config.yaml:2: it is not YAML: mapping values are not allowed here"),
        ("parallel: 1\n\x00", r"config.yaml:2: it is not YAML: '\\x00' cannot be in it"),
        ("[" * 100_000, r"config.yaml: it is nested beyond all measure"),
        ("keyring:\n", r"config.yaml:1: keyring: '' is not an absolute path"),
        ("upgrade_os: maybe\n", r"config.yaml:1: upgrade_os: 'maybe' is neither true nor false"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "etc/torcxd/config.yaml", text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_settings(parse(tmp_path), {})
    assert caught.value.exit_code == 78
    assert "\n" not in caught.value.message
    assert "unicode string" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("upgrade-so", "upgrade_os"), ("keyrings", "keyring"), ("torcx-profil", "torcx_profile")],
)
def test_the_nearest_setting_is_suggested(tmp_path: Path, name: str, nearest: str) -> None:
    write(tmp_path, "etc/torcxd/config.yaml", f"{name}: x\n")
    with pytest.raises(ConfigurationError, match="unknown setting") as caught:
        read_settings(parse(tmp_path), {})
    assert caught.value.hint == f"did you mean {nearest}?"


def test_a_setting_like_no_other_gets_the_page(tmp_path: Path) -> None:
    write(tmp_path, "etc/torcxd/config.yaml", "zzz: x\n")
    with pytest.raises(ConfigurationError) as caught:
        read_settings(parse(tmp_path), {})
    assert caught.value.hint == "docs/configuration.md lists the settings"


def unreadable(path: Path, how: str) -> None:
    path.parent.mkdir(parents=True)
    if how == "directory":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nowhere")
    elif how == "large":
        path.write_bytes(b"#" * (LARGEST + 1))
    else:
        path.write_bytes(b"parallel: 1\nverbose: \xff\n")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("directory", "Is a directory"),
        ("dangling", "No such file"),
        ("large", "larger than"),
        ("binary", r"config.yaml:2: it is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_a_configuration_is_a_wrong_one(tmp_path: Path, how: str, message: str) -> None:
    unreadable(tmp_path / "etc/torcxd/config.yaml", how)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_settings(parse(tmp_path), {})
    assert (caught.value.exit_code, caught.value.kind) == (78, Kind.CONFIGURATION)


@pytest.mark.parametrize("closed", ["etc/torcxd", "etc/torcxd/config.d"])
def test_a_folder_that_a_user_may_not_look_into_is_told_and_not_passed_over(closed: str) -> None:
    """An ordinary user who asks for the plan would get that of other settings."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        (file := Path(root) / "etc/torcxd/config.d/a.yaml").parent.mkdir(parents=True)
        file.write_text("parallel: 2\n")
        (Path(root) / closed).chmod(0o700)
        os.seteuid(65534)
        try:
            with pytest.raises(PermanentError, match="Permission denied") as caught:
                load(Layout(Path(root)))
        finally:
            os.seteuid(0)
    assert caught.value.exit_code == EX_NOPERM
    assert "run as root" in caught.value.hint


@pytest.mark.parametrize(
    ("flags", "variables", "message"),
    [
        (["--update-deadline=soon"], {}, "--update-deadline: 'soon' is not a duration"),
        (["--verbose=loud"], {}, "--verbose: 'loud' is none of"),
        (["--reboot-via=magic"], {}, "--reboot-via: 'magic' is neither"),
        ([], {"TORCXD_UPGRADE_OS": "perhaps"}, "TORCXD_UPGRADE_OS: 'perhaps'"),
        (["--force-kube-version=banana"], {}, "--force-kube-version: not a Kubernetes version .*: 'banana'"),
        ([], {"TORCXD_FORCE_KUBE_VERSION": "v1"}, "TORCXD_FORCE_KUBE_VERSION: not a Kubernetes version"),
        (["--torcx-profile="], {}, "--torcx-profile: it is empty"),
        (["--torcx-profile=../x"], {}, "--torcx-profile: '../x' holds '/'"),
        (["--torcx-profile=.."], {}, "--torcx-profile: '..' is no name"),
        (["--torcx-profile=vendor"], {}, "--torcx-profile: 'vendor' is torcx's own"),
        ([], {"TORCXD_TORCX_PROFILE": "oem"}, "TORCXD_TORCX_PROFILE: 'oem' is torcx's own"),
        (["--keyring=pubring.gpg"], {}, "--keyring: 'pubring.gpg' is not an absolute path"),
        (["--keyring="], {}, "--keyring: '' is not an absolute path"),
        (["--kubeconfig=~/.kube/config"], {}, "--kubeconfig: .* is not an absolute path"),
        (["--kubelet-env-path=kubelet.env"], {}, "--kubelet-env-path: .* is not an absolute path"),
        (["--kubelet-env-path=/etc/"], {}, "--kubelet-env-path: '/etc/' is not the path of a file"),
        (["--version-manifest=v.yaml"], {}, "--version-manifest: 'v.yaml' is not an absolute path"),
        (["--version-manifest=/v.yaml"], {}, "--version-manifest: there is no file /v.yaml"),
        ([], {"TORCXD_VERSION_MANIFEST": "/v.yaml"}, "TORCXD_VERSION_MANIFEST: there is no file /v.yaml"),
        ([], {"TORCXD_METRICS_FILE": "m.prom"}, "TORCXD_METRICS_FILE: 'm.prom' is not an absolute path"),
        (["--torcx-manifest-url=ftp://h/{{.Board}}"], {}, "--torcx-manifest-url: the template .* not an http or https"),
        (["--torcx-manifest-url=https://h/{{.Bord}}"], {}, "--torcx-manifest-url: the template knows no placeholder"),
        (["--torcx-manifest-url=https://h/{{.Board"], {}, "--torcx-manifest-url: the template has unbalanced braces"),
    ],
)
def test_a_wrong_flag_or_variable_is_named(
    tmp_path: Path, flags: list[str], variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_settings(parse(tmp_path, *flags), variables)
    assert caught.value.exit_code == 78


def test_a_missing_manifest_of_versions_that_a_file_names(tmp_path: Path) -> None:
    write(tmp_path, "etc/torcxd/config.yaml", "version_manifest: /v.yaml\n")
    with pytest.raises(ConfigurationError, match=r"config\.yaml:1: there is no file /v\.yaml"):
        read_settings(parse(tmp_path), {})
    write(tmp_path, "v.yaml", "")
    assert read_settings(parse(tmp_path), {}).version_manifest == "/v.yaml"


def test_an_empty_value_means_none_where_there_may_be_none(tmp_path: Path) -> None:
    settings = read_settings(
        parse(tmp_path, "--force-kube-version=", "--version-manifest="), {"TORCXD_METRICS_FILE": ""}
    )
    assert (settings.force_kube_version, settings.version_manifest, settings.metrics_file) == ("", "", "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TORCXD_UPGRADEOS", "did you mean TORCXD_UPGRADE_OS?"),
        ("TORCXD_FORCE_KUBERNETES_VERSION", "did you mean TORCXD_FORCE_KUBE_VERSION?"),
        ("TORCXD_", "docs/configuration.md lists the settings"),
    ],
)
def test_an_unknown_variable_is_refused(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(parse(tmp_path), {name: "x"})
    assert (caught.value.message, caught.value.hint) == (f"{name}: unknown setting", hint)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "name",
    [
        # The container unit's.
        "TORCXD_IMAGE",
        # What Kubernetes puts into every pod beside services called torcxd and torcxd-metrics.
        "TORCXD_SERVICE_HOST",
        "TORCXD_SERVICE_PORT",
        "TORCXD_SERVICE_PORT_METRICS",
        "TORCXD_PORT",
        "TORCXD_PORT_9101_TCP",
        "TORCXD_PORT_9101_TCP_ADDR",
        "TORCXD_METRICS_SERVICE_HOST",
        "TORCXD_METRICS_PORT_9101_TCP_PROTO",
        # Somebody else's.
        "TORCX_LOWER_PROFILES",
    ],
)
def test_a_variable_that_is_no_setting_is_let_be(tmp_path: Path, name: str) -> None:
    assert read_settings(parse(tmp_path), {name: "x"}) == combine()


def test_durations_and_booleans() -> None:
    assert [parse_seconds(each) for each in ("90", "90s", "1.5m", "2h")] == [90, 90, 90, 7200]
    assert [parse_bool(each) for each in ("T", "yes", "1", "f", "No", "0")] == [True, True, True, False, False, False]
    for wrong in ("0", "-1s", "x", "", "nan", "inf", "1d"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_seconds(wrong)


def test_wrong_usage_has_sysexits_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build().parse_args(["bootstrap", "--no-such-flag"])
    assert caught.value.code == 64
    assert "--no-such-flag" in capsys.readouterr().err


@pytest.mark.accepts("A37")
def test_the_original_bootstraps_flags_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "versions.yaml", "")
    flags = (
        "--kubeconfig=/k --torcx-profile=p --keyring=/pubring.gpg --version-manifest=/versions.yaml "
        "--kubelet-env-path=/e --upgrade-os=true --torcx-manifest-url= --torcx-skip-setup=false --verbose=debug "
        "--no-verify-signatures=false --force-kube-version=v1.8.4 --torcx-bin=/usr/bin/torcx"
    )
    given = build_original_bootstrap().parse_args([f"--root={tmp_path}", *flags.split()])
    settings = read_settings(given, {})
    assert (settings.kubeconfig, settings.kubelet_env_path, settings.verbose) == ("/k", "/e", "debug")
