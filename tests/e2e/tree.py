"""The Debian tree that every machine starts from, and torcxd installed on top of it; built once, kept in ``.cache/``.

Both are plain directories that an overlay takes as lower layers, so no test ever changes them. Their names hold a
digest of everything that went into them: a changed recipe, lock file or wheel gives a new directory, and nothing has
to be cleaned by hand for a test to be right (``make clean`` drops them all).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = PROJECT / ".cache" / "e2e"

SUITE: Final = "bookworm"
# The Python of SUITE: which wheels to fetch for it, whatever Python runs the tests.
TREE_PYTHON: Final = "3.11"
PACKAGES: Final = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "python3",
    "python3-venv",
    "gpg",
    "gpg-agent",
    "ca-certificates",
)
# Of no use to a machine, and a third of the tree.
LEFT_OUT: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
# Run in the tree once the packages are in.
CUSTOMIZE: Final = (
    # No machine id: the first boot is a first boot, in which systemd applies the presets.
    'rm -f "$1/etc/machine-id" "$1/var/lib/dbus/machine-id"',
    # As on an image-based OS, nothing is enabled but by somebody's preset.
    'echo "disable *" > "$1/usr/lib/systemd/system-preset/99-default.preset"',
    # It would ask for a locale on the console.
    'ln -s /dev/null "$1/etc/systemd/system/systemd-firstboot.service"',
    # The journal outlives the boot, so that a test can read it afterwards.
    'mkdir -p "$1/var/log/journal" "$1/etc/systemd/journald.conf.d"',
    'printf "[Journal]\\nStorage=persistent\\nSyncIntervalSec=0\\nRateLimitBurst=0\\n"'
    ' > "$1/etc/systemd/journald.conf.d/e2e.conf"',
)
# Dependencies that are published as source only: built on the host, since they are pure Python.
SOURCE_ONLY: Final = frozenset({"asks"})

# The cached directories that this process uses, with the descriptor that holds the lock.
_held: dict[Path, int] = {}

# An overlay over "$1" (lower layers, colon-separated) with changes in "$2", mounted on "$4", in a mount namespace of
# its own: it disappears with the process, however that ends.
OVERLAY_SCRIPT: Final = (
    'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"\n'
    # systemd-nspawn makes its own mounts below it and wants it to be a mount point that is not shared.
    "mkdir -p /run/systemd/nspawn; mount -t tmpfs tmpfs /run/systemd/nspawn\n"
)


class MissingToolError(Exception):
    """A program that the end-to-end tests need is not installed, or this is not root."""


def require_tools() -> None:
    """Check that machines can be built and booted here.

    :raises MissingToolError: naming what is missing and how to get it.
    """
    if os.geteuid() != 0:
        raise MissingToolError("the end-to-end tests boot systemd in systemd-nspawn: run them as root")
    tools = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "journalctl": "systemd"}
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if missing:
        raise MissingToolError(f"the end-to-end tests need more packages: apt-get install {' '.join(missing)}")


def base_tree() -> Path:
    """The Debian tree, built if it is not there (about half a minute, from a Debian mirror).

    :raises MissingToolError: when it cannot be built here.
    :raises subprocess.CalledProcessError: when building fails.
    """
    require_tools()
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={each}" for each in LEFT_OUT),
        *(f"--customize-hook={each}" for each in CUSTOMIZE),
        SUITE,
    ]
    return _cached("debian", [*command], lambda target: _run([*command, str(target)]))


def torcxd_layer(base: Path) -> Path:
    """What ``pip install`` of the built wheel adds to *base*: a virtual environment in ``/opt/torcxd``.

    The wheel is built from the work tree. Its dependencies are the locked ones, fetched once for each lock file.

    :raises subprocess.CalledProcessError: when building or installing fails.
    """
    wheel = built_wheel()
    wheelhouse = dependencies()
    # Not the wheel's bytes: archives carry times. What counts is what it was made from.
    key = [base.name, wheelhouse.name, wheel.parent.name]

    def install(target: Path) -> None:
        script = (
            OVERLAY_SCRIPT + 'mkdir -p "$4/mnt/wheels" "$4/mnt/torcxd"\n'
            'mount --bind "$5" "$4/mnt/wheels"; mount --bind "$6" "$4/mnt/torcxd"; mount -t proc proc "$4/proc"\n'
            'chroot "$4" /usr/bin/python3 -m venv /opt/torcxd\n'
            'chroot "$4" /opt/torcxd/bin/pip install --quiet --no-index --find-links /mnt/wheels'
            ' "/mnt/torcxd/$7[sandbox]"\n'
        )
        work = target.with_name(target.name + ".work")
        root = target.with_name(target.name + ".root")
        for each in (target, work, root):
            each.mkdir()
        try:
            in_namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"]
            paths = [base, target, work, root, wheelhouse, wheel.parent]
            _run([*in_namespace, *map(str, paths), wheel.name], env=_isolated_pip())
        finally:
            shutil.rmtree(work)
            root.rmdir()

    return _cached("torcxd", key, install)


def built_wheel() -> Path:
    """The wheel of the work tree as it is now."""
    sources = [PROJECT / "pyproject.toml", PROJECT / "README.md", PROJECT / "LICENSE"]
    for folder in ("torcxd", "states", "systemd"):
        sources += (each for each in sorted((PROJECT / folder).rglob("*")) if each.suffix != ".pyc" and each.is_file())
    contents = [f"{each.relative_to(PROJECT)} {_digest(each.read_bytes())}" for each in sources]

    def build(target: Path) -> None:
        _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(PROJECT)])

    (wheel,) = _cached("wheel", contents, build).glob("*.whl")
    return wheel


def dependencies() -> Path:
    """A folder with the wheels of all locked run-time dependencies, for the tree's Python."""
    lock = PROJECT / "requirements.lock"

    def fetch(target: Path) -> None:
        target.mkdir()
        binary, source = _split(lock.read_text(encoding="utf-8"))
        pip = [sys.executable, "-m", "pip", "--quiet"]
        options = ["--no-deps", "--require-hashes"]
        machine = os.uname().machine
        platforms = [f"manylinux2014_{machine}", f"manylinux_2_17_{machine}", f"manylinux_2_28_{machine}"]
        requirements = target / "requirements.txt"
        requirements.write_text(binary, encoding="utf-8")
        _run(
            [
                *pip,
                "download",
                *options,
                "--only-binary=:all:",
                f"--python-version={TREE_PYTHON}",
                "--implementation=cp",
                *(f"--platform={each}" for each in platforms),
                f"--dest={target}",
                f"--requirement={requirements}",
            ]
        )
        requirements.write_text(source, encoding="utf-8")
        _run(
            [
                *pip,
                "wheel",
                *options,
                "--no-build-isolation",
                f"--wheel-dir={target}",
                f"--requirement={requirements}",
            ]
        )
        requirements.unlink()

    return _cached("wheelhouse", [TREE_PYTHON, os.uname().machine, _digest(lock.read_bytes())], fetch)


def _split(lock: str) -> tuple[str, str]:
    """Divide a lock file into what is published as a wheel and what has to be built from source."""
    parts: tuple[list[str], list[str]] = ([], [])
    current = parts[0]
    for line in lock.splitlines(keepends=True):
        if "==" in line:
            current = parts[line.split("==")[0].strip() in SOURCE_ONLY]
        current.append(line)
    return "".join(parts[0]), "".join(parts[1])


def _cached(name: str, key: Sequence[str], build: Callable[[Path], object]) -> Path:
    """The directory *name* made from *key*, built by *build* unless it is there already.

    *build* gets a path that does not exist. The result is renamed into place, so a build that was cut off leaves
    nothing that looks finished; a lock keeps two test runs from building the same thing. Earlier results go, unless
    another test run uses them.
    """
    target = CACHE / f"{name}-{_digest(chr(0).join(key).encode())[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            temporary = target.with_name(target.name + ".part")
            shutil.rmtree(temporary, ignore_errors=True)
            build(temporary)
            temporary.rename(target)
        _hold(target)
        for each in CACHE.glob(f"{name}-*"):
            if each != target:
                _remove_unused(each)
    return target


def _hold(directory: Path) -> None:
    """Mark *directory* as used by this process, until it ends."""
    if directory not in _held:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _held[directory] = descriptor


def _remove_unused(directory: Path) -> None:
    """Remove *directory*, unless a process holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _run(command: Sequence[str], *, env: dict[str, str] | None = None) -> None:
    """Run *command* to its end; what it printed is shown when it fails."""
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        done.check_returncode()


def _isolated_pip() -> dict[str, str]:
    """The environment for pip inside the tree: the host's indexes and certificates mean nothing there."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    return inherited | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PIP_CONFIG_FILE": os.devnull, "LC_ALL": "C.UTF-8"}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
