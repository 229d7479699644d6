"""Settings: one table, four layers, and errors that name the place."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from torcxd.cli.dispatch import read_settings
from torcxd.cli.parser import build, build_original_bootstrap
from torcxd.errors import ConfigurationError
from torcxd.settings import DEFAULT_MANIFEST_URL, OPTIONS, Settings, combine, parse_bool, parse_seconds


def parse(tmp_path: Path, *flags: str) -> argparse.Namespace:
    return build().parse_args(["bootstrap", f"--root={tmp_path}", *flags])


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_settings_are_exactly_the_options_in_order() -> None:
    assert [each.name for each in fields(Settings)] == [each.name for each in OPTIONS]


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
        ("a: [\n", r"config.yaml is not YAML"),
        ("upgrade_os: maybe\n", r"config.yaml:1: upgrade_os: 'maybe' is neither true nor false"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "etc/torcxd/config.yaml", text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_settings(parse(tmp_path), {})
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("flags", "variables", "message"),
    [
        (["--update-deadline=soon"], {}, "--update-deadline: 'soon' is not a duration"),
        (["--verbose=loud"], {}, "--verbose: 'loud' is none of"),
        (["--reboot-via=magic"], {}, "--reboot-via: 'magic' is neither"),
        ([], {"TORCXD_UPGRADE_OS": "perhaps"}, "TORCXD_UPGRADE_OS: 'perhaps'"),
    ],
)
def test_a_wrong_flag_or_variable_is_named(
    tmp_path: Path, flags: list[str], variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_settings(parse(tmp_path, *flags), variables)


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
def test_the_original_bootstraps_flags_are_taken() -> None:
    flags = (
        "--kubeconfig=/k --torcx-profile=p --keyring=/pubring.gpg --version-manifest=/versions.yaml "
        "--kubelet-env-path=/e --upgrade-os=true --torcx-manifest-url= --torcx-skip-setup=false --verbose=debug "
        "--no-verify-signatures=false --force-kube-version=v1.8.4 --torcx-bin=/usr/bin/torcx"
    )
    given = build_original_bootstrap().parse_args(flags.split())
    settings = read_settings(given, {})
    assert (settings.kubeconfig, settings.kubelet_env_path, settings.verbose) == ("/k", "/e", "debug")
