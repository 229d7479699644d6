"""What an operator can set, as one table: flags, environment, configuration files and their documentation come from it.

Precedence: flag > environment (``TORCXD_<NAME>``) > ``/etc/torcxd`` > ``/usr/lib/torcxd`` > default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from torcxd.errors import ConfigurationError
from torcxd.kube_names import parse_annotation, parse_namespace, parse_node_name
from torcxd.lifecycle.versions import KubeVersion
from torcxd.manifest_url import parse_template
from torcxd.names import user_profile

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


def parse_operator(text: str) -> str:
    """Which update operator's names are used. Raises ``ValueError``."""
    if text not in ("auto", "cluo", "fluo"):
        raise ValueError(f"{text!r} is none of auto, cluo, fluo")
    return text


def parse_listen(text: str) -> str:
    """Where metrics are served: nothing, a loopback port, or a Unix socket. Raises ``ValueError``."""
    port = text.removeprefix("127.0.0.1:").removeprefix("[::1]:")
    if not text or text.startswith("/") or (port != text and port.isdecimal() and 0 < int(port) < 65536):
        return text
    raise ValueError(f"{text!r} is neither a loopback address such as 127.0.0.1:9100 nor the path of a socket")


def parse_file(text: str) -> str:
    """An absolute path. Raises ``ValueError``."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not an absolute path")
    if "\0" in text or text.endswith("/"):
        raise ValueError(f"{text!r} is not the path of a file")
    return text


def parse_optional_file(text: str) -> str:
    """An absolute path, or nothing for none. Raises ``ValueError``."""
    return parse_file(text) if text else text


def parse_kube_version(text: str) -> str:
    """A Kubernetes version, or nothing for none. Raises ``ValueError``."""
    if text:
        KubeVersion.parse(text)
    return text


EVERYWHERE: Final = frozenset({"bootstrap", "plan", "run", "hook"})
_BOOTSTRAP: Final = frozenset({"bootstrap", "plan"})
_ATTENDING: Final = frozenset({"run", "hook"})
_DAEMON: Final = frozenset({"run"})


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    :param name: in configuration files; the flag is ``--`` plus this with dashes.
    :param parse: text to value; raises ``ValueError`` with what is wrong.
    :param metavar: how the value is shown in help.
    :param empty_is_default: an empty value stands for the default, as the original's unit passes ``""``.
    :param commands: the commands that it is a flag of. As a variable or in a file it can be set for all.
    """

    name: str
    default: Any
    parse: Callable[[str], Any]
    metavar: str
    help: str
    empty_is_default: bool = False
    commands: frozenset[str] = EVERYWHERE

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "TORCXD_" + self.name.upper()


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "upgrade_os",
        True,
        parse_bool,
        "BOOL",
        "look for an OS update first and wait for its end",
        commands=_BOOTSTRAP,
    ),
    Option(
        "torcx_skip_setup",
        False,
        parse_bool,
        "BOOL",
        "touch no manifest, store or profile; still write kubelet.env",
        commands=_BOOTSTRAP,
    ),
    Option("no_verify_signatures", False, parse_bool, "BOOL", "accept addon manifests without a trusted signature"),
    Option(
        "force_kube_version",
        "",
        parse_kube_version,
        "VERSION",
        "take this Kubernetes version; ask no API server for it",
    ),
    Option(
        "torcx_manifest_url",
        DEFAULT_MANIFEST_URL,
        parse_template,
        "TEMPLATE",
        "where addon manifests are; {{.Board}} and {{.OSVersion}} are filled in; the signature is beside it (.asc)",
        empty_is_default=True,
    ),
    Option(
        "torcx_profile",
        "tectonic",
        user_profile,
        "NAME",
        "torcx profile to create when only the vendor's is in use",
    ),
    Option("keyring", "/etc/torcxd/pubring.gpg", parse_file, "FILE", "keys that may sign manifests, armored or binary"),
    Option(
        "kubeconfig",
        "/etc/kubernetes/kubeconfig",
        parse_file,
        "FILE",
        "how to reach the API server; may be missing",
    ),
    Option("version_manifest", "", parse_optional_file, "FILE", "runtime mappings in place of the built-in ones"),
    Option(
        "mappings_namespace",
        "tectonic-system",
        parse_namespace,
        "NAMESPACE",
        "where the runtime-mappings ConfigMap is",
    ),
    Option(
        "kubelet_env_path",
        "/etc/kubernetes/kubelet.env",
        parse_file,
        "FILE",
        "the file whose existence starts kubelet",
    ),
    Option(
        "update_deadline",
        600.0,
        parse_seconds,
        "DURATION",
        "give up on an OS update that shows no progress for so long",
        commands=_BOOTSTRAP,
    ),
    Option(
        "api_retry_for",
        30.0,
        parse_seconds,
        "DURATION",
        "how long to try the API server before the local fallback",
    ),
    Option(
        "retry_for",
        1800.0,
        parse_seconds,
        "DURATION",
        "how long to retry a failing step before ending for the unit to restart",
        commands=_BOOTSTRAP,
    ),
    Option("parallel", 4, parse_count, "N", "downloads at a time"),
    Option(
        "reboot_via",
        "login1",
        parse_reboot_via,
        "SERVICE",
        "ask login1 or systemd1 for the reboot",
        commands=_BOOTSTRAP,
    ),
    Option(
        "node_name",
        "",
        parse_node_name,
        "NAME",
        "this node's name in the cluster (default: the variables NODE or NODE_NAME, else the host name)",
        commands=_ATTENDING,
    ),
    Option(
        "node_annotation",
        "tectonic-torcx-pre-hook-ok",
        parse_annotation,
        "NAME",
        "annotation that answers the pre-reboot check; without a slash, the operator's prefix is added",
        commands=_ATTENDING,
    ),
    Option(
        "update_operator",
        "auto",
        parse_operator,
        "NAME",
        "whose names to use: cluo (Container Linux), fluo (Flatcar), or auto: whichever the node shows",
        commands=_ATTENDING,
    ),
    Option(
        "inhibit_for",
        7200.0,
        parse_seconds,
        "DURATION",
        "hold reboots off at most so long while the node cannot be prepared",
        commands=_DAEMON,
    ),
    Option(
        "version_interval",
        600.0,
        parse_seconds,
        "DURATION",
        "how often to ask the API server for its version",
        commands=_DAEMON,
    ),
    Option(
        "update_kubelet",
        False,
        parse_bool,
        "BOOL",
        "let kubelet.env follow the cluster's version, never ahead of it",
        commands=_DAEMON,
    ),
    Option(
        "restart_kubelet",
        False,
        parse_bool,
        "BOOL",
        "restart kubelet.service when kubelet.env changed",
        commands=_DAEMON,
    ),
    Option(
        "metrics_file",
        "",
        parse_optional_file,
        "FILE",
        "write metrics there, for node_exporter's textfile collector",
        commands=_DAEMON,
    ),
    Option(
        "metrics_listen",
        "",
        parse_listen,
        "ADDRESS",
        "serve metrics on this loopback address (127.0.0.1:PORT) or Unix socket (/PATH)",
        commands=_DAEMON,
    ),
    Option("verbose", "info", parse_level, "LEVEL", "debug, info, warning or error"),
)
BY_NAME: Final = {each.name: each for each in OPTIONS}

# Beside the settings, the file that the units take variables from names the container unit's image.
_OF_UNITS: Final = frozenset({"TORCXD_IMAGE"})
# What Kubernetes puts into each pod about a service whose name begins with "torcxd"; nobody has set these.
_OF_SERVICES: Final = re.compile(
    r"TORCXD_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. The fields are :data:`OPTIONS`, in order; durations are seconds, paths host paths.

    :ivar origins: where each one was given that was: a flag, a variable, or a file and line.
    """

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
    node_name: str
    node_annotation: str
    update_operator: str
    inhibit_for: float
    version_interval: float
    update_kubelet: bool
    restart_kubelet: bool
    metrics_file: str
    metrics_listen: str
    verbose: str
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def origin(self, name: str) -> str:
        """Where the setting *name* was given, for people; what it is called in a file, where nobody has said it."""
        return self.origins.get(name, name)


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
        raise ConfigurationError(f"{where}: {error}", hint=f"it takes {option.metavar}: {option.help}") from None


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that variables give.

    :raises ConfigurationError: naming the variable: a wrong value, or one that begins like a setting and is none.
    """
    known = {each.variable: each for each in OPTIONS}
    values: dict[str, Any] = {}
    for name in sorted(each for each in environment if each.startswith("TORCXD_")):
        if name in known:
            values[known[name].name] = convert(known[name], environment[name], name)
        elif name not in _OF_UNITS and not _OF_SERVICES.fullmatch(name):
            key = name.removeprefix("TORCXD_").lower()
            raise unknown_setting(f"{name}: unknown setting", key, lambda option: option.variable)
    return values


def unknown_setting(message: str, name: str, spelt: Callable[[Option], str]) -> ConfigurationError:
    """The error for a setting that does not exist, with the nearest as a hint.

    :param message: names the variable, or file, line and key.
    :param name: what it would be called in a file.
    :param spelt: how a setting is called there.
    """
    # Loaded for those who mistype only.
    from difflib import get_close_matches

    near = get_close_matches(name, BY_NAME, n=1)
    hint = f"did you mean {spelt(BY_NAME[near[0]])}?" if near else "docs/configuration.md lists the settings"
    return ConfigurationError(message, hint=hint)


def combine(*layers: dict[str, Any], origins: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Merge layers of values, the weakest first, over the defaults.

    :param origins: :attr:`Settings.origins`.
    """
    values = {each.name: each.default for each in OPTIONS}
    for layer in layers:
        values.update(layer)
    return Settings(**values, origins=dict(origins))
