"""What an operator can set, as one table: flags, environment, configuration files and their documentation come from it.

Precedence: flag > environment (``TORCXD_<NAME>``) > ``/etc/torcxd`` > ``/usr/lib/torcxd`` > default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torcxd.errors import ConfigurationError

DEFAULT_MANIFEST_URL: Final = (
    "https://tectonic-torcx.release.core-os.net/manifests/{{.Board}}/{{.OSVersion}}/torcx_manifest.json"
)
_TRUE: Final = frozenset({"1", "t", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "f", "false", "no", "off"})


def parse_bool(text: str) -> bool:
    """``true``/``false`` in the spellings that the original's flags take. Raises ``ValueError``."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def parse_seconds(text: str) -> float:
    """A duration: seconds, or a number with ``s``, ``m`` or ``h``. Raises ``ValueError``."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        raise ValueError(f"{text!r} is not a duration such as 90, 90s, 5m or 1h") from None
    if not 0 < seconds < 30 * 86400:
        raise ValueError(f"{text!r} is not a duration between 0 and 30 days")
    return seconds


def parse_level(text: str) -> str:
    """A level of verbosity, with the original's names. Raises ``ValueError``."""
    names = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}
    if text.lower() not in names:
        raise ValueError(f"{text!r} is none of debug, info, warning, error")
    return names[text.lower()]


def parse_reboot_via(text: str) -> str:
    """Through which service a reboot is asked for. Raises ``ValueError``."""
    if text not in ("login1", "systemd1"):
        raise ValueError(f"{text!r} is neither login1 nor systemd1")
    return text


def parse_count(text: str) -> int:
    """A small positive number. Raises ``ValueError``."""
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ValueError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _text(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    :param name: in configuration files; the flag is ``--`` plus this with dashes.
    :param parse: text to value; raises ``ValueError`` with what is wrong.
    :param metavar: how the value is shown in help.
    :param empty_is_default: an empty value stands for the default, as the original's unit passes ``""``.
    """

    name: str
    default: Any
    parse: Callable[[str], Any]
    metavar: str
    help: str
    empty_is_default: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "TORCXD_" + self.name.upper()


OPTIONS: Final[tuple[Option, ...]] = (
    Option("upgrade_os", True, parse_bool, "BOOL", "look for an OS update first and wait for its end"),
    Option(
        "torcx_skip_setup", False, parse_bool, "BOOL", "touch no manifest, store or profile; still write kubelet.env"
    ),
    Option("no_verify_signatures", False, parse_bool, "BOOL", "accept addon manifests without a trusted signature"),
    Option("force_kube_version", "", _text, "VERSION", "take this Kubernetes version; ask no API server for it"),
    Option(
        "torcx_manifest_url",
        DEFAULT_MANIFEST_URL,
        _text,
        "TEMPLATE",
        "where addon manifests are; {{.Board}} and {{.OSVersion}} are filled in; the signature is beside it (.asc)",
        empty_is_default=True,
    ),
    Option("torcx_profile", "tectonic", _text, "NAME", "torcx profile to create when only the vendor's is in use"),
    Option("keyring", "/etc/torcxd/pubring.gpg", _text, "FILE", "keys that may sign manifests, armored or binary"),
    Option("kubeconfig", "/etc/kubernetes/kubeconfig", _text, "FILE", "how to reach the API server; may be missing"),
    Option("version_manifest", "", _text, "FILE", "runtime mappings in place of the built-in ones"),
    Option("mappings_namespace", "tectonic-system", _text, "NAMESPACE", "where the runtime-mappings ConfigMap is"),
    Option("kubelet_env_path", "/etc/kubernetes/kubelet.env", _text, "FILE", "the file whose existence starts kubelet"),
    Option(
        "update_deadline",
        600.0,
        parse_seconds,
        "DURATION",
        "give up on an OS update that shows no progress for so long",
    ),
    Option(
        "api_retry_for", 30.0, parse_seconds, "DURATION", "how long to try the API server before the local fallback"
    ),
    Option(
        "retry_for",
        1800.0,
        parse_seconds,
        "DURATION",
        "how long to retry a failing step before ending for the unit to restart",
    ),
    Option("parallel", 4, parse_count, "N", "downloads at a time"),
    Option("reboot_via", "login1", parse_reboot_via, "SERVICE", "ask login1 or systemd1 for the reboot"),
    Option("verbose", "info", parse_level, "LEVEL", "debug, info, warning or error"),
)
BY_NAME: Final = {each.name: each for each in OPTIONS}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. The fields are :data:`OPTIONS`, in order; durations are seconds, paths host paths."""

    upgrade_os: bool
    torcx_skip_setup: bool
    no_verify_signatures: bool
    force_kube_version: str
    torcx_manifest_url: str
    torcx_profile: str
    keyring: str
    kubeconfig: str
    version_manifest: str
    mappings_namespace: str
    kubelet_env_path: str
    update_deadline: float
    api_retry_for: float
    retry_for: float
    parallel: int
    reboot_via: str
    verbose: str


def convert(option: Option, text: str, where: str) -> Any:
    """Parse one value.

    :param where: the flag, variable, or file and line it came from.
    :raises ConfigurationError: naming it.
    """
    if not text and option.empty_is_default:
        return option.default
    try:
        return option.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def combine(*layers: dict[str, Any]) -> Settings:
    """Merge layers of values, the weakest first, over the defaults."""
    values = {each.name: each.default for each in OPTIONS}
    for layer in layers:
        values.update(layer)
    return Settings(**values)
