"""Detached signatures, checked by the real gpg with real keys in every condition."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
import trio

from tests.integration.addons.openpgp import LONG_AGO, Keys
from torcxd.addons.signature import Verifier
from torcxd.errors import EX_DATAERR, ConfigurationError, PermanentError
from torcxd.host import files

DATA = b'{"kind": "torcx-package-list-v0"}\n'
WHERE = "https://bucket.example/torcx_manifest.json.asc"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gnupg"


@pytest.fixture
def keyring(keys: Keys, tmp_path: Path) -> Path:
    path = tmp_path / "keyring.gpg"
    path.write_bytes(keys.export("good", "other", "expired", "subkey"))
    return path


@pytest.fixture
def verifier(keyring: Path, home: Path) -> Verifier:
    return Verifier(keyring, home)


async def refused(verifier: Verifier, signature: bytes, *, data: bytes = DATA) -> str:
    with pytest.raises(PermanentError) as caught:
        await verifier.verify(data, signature, WHERE)
    assert WHERE in caught.value.message
    assert caught.value.exit_code == EX_DATAERR
    assert "--keyring" in caught.value.hint
    return caught.value.message


@pytest.mark.accepts("A6")
@pytest.mark.parametrize("armor", [True, False])
async def test_a_signature_by_a_key_of_the_keyring_is_accepted(verifier: Verifier, keys: Keys, armor: bool) -> None:
    assert await verifier.verify(DATA, keys.sign(DATA, "good", armor=armor), WHERE) == keys.fingerprint("good")


@pytest.mark.accepts("A6")
async def test_every_key_of_an_armored_keyring_is_trusted(keys: Keys, keyring: Path, home: Path) -> None:
    keyring.write_bytes(keys.export("good", "other", armor=True))
    verifier = Verifier(keyring, home)
    for name in ("good", "other"):
        assert await verifier.verify(DATA, keys.sign(DATA, name), WHERE) == keys.fingerprint(name)


async def test_a_signing_subkey_answers_to_its_primary_key(verifier: Verifier, keys: Keys) -> None:
    assert await verifier.verify(DATA, keys.sign(DATA, "subkey"), WHERE) == keys.fingerprint("subkey")


async def test_two_good_signatures_are_accepted(verifier: Verifier, keys: Keys) -> None:
    both = keys.sign(DATA, "good", "other")
    assert await verifier.verify(DATA, both, WHERE) in (keys.fingerprint("good"), keys.fingerprint("other"))


@pytest.mark.accepts("A6")
async def test_other_data_are_refused(verifier: Verifier, keys: Keys) -> None:
    message = await refused(verifier, keys.sign(DATA, "good"), data=DATA + b" ")
    assert f"it was made for other data (key {keys.fingerprint('good')[-16:]})" in message


@pytest.mark.accepts("A6")
async def test_a_foreign_key_is_refused(verifier: Verifier, keys: Keys) -> None:
    assert "its key is not in the keyring (key" in await refused(verifier, keys.sign(DATA, "foreign"))


@pytest.mark.accepts("A6")
async def test_an_expired_key_is_refused(verifier: Verifier, keys: Keys) -> None:
    assert "its key has expired" in await refused(verifier, keys.sign(DATA, "expired", at=LONG_AGO))


@pytest.mark.accepts("A6")
async def test_an_expired_signature_is_refused(verifier: Verifier, keys: Keys, tmp_path: Path) -> None:
    old = keys.make(f"old{tmp_path.name}", at=LONG_AGO)
    signature = keys.sign(DATA, f"old{tmp_path.name}", at=LONG_AGO, expires="1d")
    keyring = tmp_path / "old.gpg"
    keyring.write_bytes(keys.export(f"old{tmp_path.name}"))
    verifier = Verifier(keyring, tmp_path / "home")
    assert "it has expired" in await refused(verifier, signature)
    assert await verifier.verify(DATA, keys.sign(DATA, f"old{tmp_path.name}"), WHERE) == old


@pytest.mark.accepts("A6")
async def test_a_revoked_key_is_refused_once_the_keyring_says_so(keys: Keys, tmp_path: Path, home: Path) -> None:
    name = f"leaked{tmp_path.name}"
    fingerprint = keys.make(name)
    signature = keys.sign(DATA, name)
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(keys.export(name))
    verifier = Verifier(keyring, home)
    assert await verifier.verify(DATA, signature, WHERE) == fingerprint
    both = keys.sign(DATA, name, "good")
    keys.revoke(name)
    keyring.write_bytes(keys.export(name, "good"))
    assert "its key was revoked" in await refused(verifier, signature)
    assert "its key was revoked" in await refused(verifier, both)
    assert await verifier.verify(DATA, keys.sign(DATA, "good"), WHERE) == keys.fingerprint("good")


@pytest.mark.accepts("A6")
@pytest.mark.parametrize("order", [("good", "foreign"), ("foreign", "good")])
async def test_one_good_signature_does_not_excuse_another(
    verifier: Verifier, keys: Keys, order: tuple[str, str]
) -> None:
    both = b"".join(keys.sign(DATA, name, armor=False) for name in order)
    assert "its key is not in the keyring" in await refused(verifier, both)
    mixed = keys.sign(DATA, "good", armor=False) + keys.sign(b"other data", "other", armor=False)
    assert "it was made for other data" in await refused(verifier, mixed)


@pytest.mark.accepts("A6")
@pytest.mark.parametrize("signature", [b"", b"\n", b"<html>Not Found</html>", b"\0" * 100])
async def test_what_is_no_signature_is_refused(verifier: Verifier, signature: bytes) -> None:
    assert "it is empty" in (message := await refused(verifier, signature)) or "not a detached OpenPGP" in message


async def test_a_cut_signature_is_refused(verifier: Verifier, keys: Keys) -> None:
    for armor in (True, False):
        signature = keys.sign(DATA, "good", armor=armor)
        assert await refused(verifier, signature[: len(signature) // 2])


async def test_an_oversized_signature_is_refused(verifier: Verifier) -> None:
    assert "larger than" in await refused(verifier, b"x" * (2 << 20))


@pytest.mark.accepts("A6")
@pytest.mark.parametrize("form", ["--sign", "--clear-sign"])
async def test_a_signed_message_is_no_detached_signature(verifier: Verifier, keys: Keys, form: str) -> None:
    message = keys.gpg("--local-user", "good@example.com", form, data=DATA)
    assert "not a detached OpenPGP signature" in await refused(verifier, message)
    assert "not a detached OpenPGP signature" in await refused(verifier, message, data=b"quite other data")


async def test_a_changed_keyring_is_read_again(verifier: Verifier, keyring: Path, home: Path, keys: Keys) -> None:
    good, foreign = keys.sign(DATA, "good"), keys.sign(DATA, "foreign")
    assert await verifier.verify(DATA, good, WHERE)
    imported = [each.name for each in home.iterdir() if each.is_dir()]
    assert await verifier.verify(DATA, good, WHERE)
    assert [each.name for each in home.iterdir() if each.is_dir()] == imported
    keyring.write_bytes(keys.export("foreign"))
    assert await verifier.verify(DATA, foreign, WHERE) == keys.fingerprint("foreign")
    assert "its key is not in the keyring" in await refused(verifier, good)
    left = [each.name for each in home.iterdir() if each.is_dir()]
    assert len(left) == 1
    assert left != imported


async def test_the_import_is_shared_and_survives_its_loss(keyring: Path, home: Path, keys: Keys) -> None:
    signature = keys.sign(DATA, "good")
    first, second = Verifier(keyring, home), Verifier(keyring, home)
    async with trio.open_nursery() as nursery:
        for each in (first, second, first, second):
            nursery.start_soon(each.verify, DATA, signature, WHERE)
    (imported,) = (each for each in home.iterdir() if each.is_dir())
    shutil.rmtree(imported)
    assert await first.verify(DATA, signature, WHERE) == await second.verify(DATA, signature, WHERE)


async def test_the_home_is_private_and_holds_no_leftovers(verifier: Verifier, home: Path, keys: Keys) -> None:
    home.mkdir(parents=True)
    home.chmod(0o755)
    (home / "signature-of-a-killed-process").write_bytes(b"")
    (home / "importing-of-a-killed-process").mkdir()
    await verifier.verify(DATA, keys.sign(DATA, "good"), WHERE)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    names = sorted(each.name for each in home.iterdir())
    assert names[0] == ".lock"
    assert len(names) == 2
    assert len(names[1]) == 64
    assert stat.S_IMODE((home / names[1]).stat().st_mode) == 0o700
    assert stat.S_IMODE(home.parent.stat().st_mode) & 0o055 == 0o055


async def test_what_a_kill_left_of_a_check_goes_with_the_next(verifier: Verifier, home: Path, keys: Keys) -> None:
    signature = keys.sign(DATA, "good")
    await verifier.verify(DATA, signature, WHERE)
    (home / "signature-of-a-killed-process").write_bytes(signature)
    await verifier.verify(DATA, signature, WHERE)
    assert not list(home.glob("signature-*"))


async def test_a_power_cut_after_a_check_brings_nothing_of_it_back(
    verifier: Verifier, home: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable: list[list[str]] = []
    fsync = files.fsync_directory

    def noted(directory: Path) -> None:
        fsync(directory)
        if directory == home:
            durable.append(sorted(each.name for each in home.iterdir()))

    monkeypatch.setattr(files, "fsync_directory", noted)
    await verifier.verify(DATA, keys.sign(DATA, "good"), WHERE)
    assert durable[-1] == sorted(each.name for each in home.iterdir())
    assert not any(each.startswith("signature-") for each in durable[-1])


async def test_no_agent_is_left_behind(verifier: Verifier, home: Path, keys: Keys) -> None:
    await verifier.verify(DATA, keys.sign(DATA, "good"), WHERE)
    assert not list(home.rglob("S.*"))
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes()
        except OSError:  # It has ended meanwhile.
            continue
        assert os.fsencode(home) not in command


async def test_a_home_that_is_a_link_is_refused(keyring: Path, home: Path, tmp_path: Path) -> None:
    home.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermanentError, match="is not a directory"):
        await Verifier(keyring, home).verify(DATA, b"x", WHERE)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"", "it is empty"), (b"garbage", "it holds no OpenPGP public keys")],
)
async def test_an_unusable_keyring_is_a_wrong_configuration(
    keyring: Path, home: Path, content: bytes | None, problem: str
) -> None:
    keyring.unlink()
    if content is not None:
        keyring.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        await Verifier(keyring, home).verify(DATA, b"x", WHERE)
    assert str(keyring) in caught.value.message
    assert problem in caught.value.message
    assert "--keyring" in caught.value.hint


async def test_a_directory_is_no_keyring(tmp_path: Path, home: Path) -> None:
    with pytest.raises(ConfigurationError, match="Is a directory"):
        await Verifier(tmp_path, home).verify(DATA, b"x", WHERE)


async def test_a_cut_keyring_is_a_wrong_configuration(keyring: Path, home: Path, keys: Keys) -> None:
    keyring.write_bytes(keys.export("good")[:40])
    with pytest.raises(ConfigurationError) as caught:
        await Verifier(keyring, home).verify(DATA, b"x", WHERE)
    assert str(keyring) in caught.value.message
    assert not [each for each in home.iterdir() if len(each.name) == 64]


async def test_a_secret_key_is_not_taken_for_a_keyring(keyring: Path, home: Path, keys: Keys) -> None:
    keyring.write_bytes(keys.export("good", secret=True))
    with pytest.raises(ConfigurationError, match="it holds a secret key"):
        await Verifier(keyring, home).verify(DATA, b"x", WHERE)


async def test_without_gpg_the_message_says_so(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="gpg cannot be run") as caught:
        await verifier.verify(DATA, b"x", WHERE)
    assert "install GnuPG" in caught.value.hint
