"""Manifests that a trusted key signed and that are evil all the same, and manifests that are not where they belong."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.hostile.attack import attack, nothing, removed, unchanged
from tests.hostile.scene import BOARD, IMAGE, OS, OTHER_IMAGE, OTHER_OS, Scene, document, manifest_path, version
from tests.hostile.signing import sign
from torcxd import manifest_url
from torcxd.addons import manifest, signature, store
from torcxd.addons.store import Store
from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.lifecycle.catalog import Digest
from torcxd.sandbox.http_server import Response
from torcxd.sandbox.images import TorcxImage

# What a manifest calls its default has no say.
DEFAULT = "1.0"
# Two layers: what reads the manifest, and what puts files together from it.
NAMES = (removed(manifest, "component", unchanged), removed(store, "component", unchanged))


def placed(scene: Scene) -> list[str]:
    """What has a final name in the node's store."""
    user = scene.node.layout.user_store
    return [str(each.relative_to(user)) for each in user.rglob("*") if each.is_file()] if user.exists() else []


@pytest.mark.accepts("N2")
@pytest.mark.parametrize(
    "reference",
    [
        "../../../../../etc/evil",
        "../evil",
        "/etc/evil",
        "x/y",
        "17.03\0x",
        "17.03\n",
        "17.03\r",
        "17.03\x1b[2J",
        "17.03 ",
        "\u202e30.71",
        "\uff11\uff17.03",
        "17.03\u200b",
        "x" * 240,
    ],
    ids=ascii,
)
@attack(*NAMES)
async def test_a_signed_version_that_is_no_file_name(scene: Scene, reference: str) -> str:
    scene.preferences = (reference,)
    evil = replace(IMAGE, reference=reference)
    scene.forge_manifest(document(version(evil, scene.offer(IMAGE.data)), default=DEFAULT))
    try:
        got = await scene.stage()
    except ValueError as error:
        return f"the program fails in a way of its own: {error}"
    refused = isinstance(scene.error, PermanentError) and "versions[0].version" in scene.error.message
    return got or ("" if refused else f"not refused for what it is: {scene.error}, placed: {placed(scene)}")


@pytest.mark.accepts("N2")
@pytest.mark.parametrize("name", ["../../../../etc/evil", "{root}/etc/evil", ".."], ids=ascii)
@attack(removed(store, "component", unchanged), removed(store, "check_directory", nothing))
async def test_a_package_or_os_version_that_leaves_the_store(scene: Scene, name: str) -> str:
    name = name.format(root=scene.root)
    scene.staging.mkdir(parents=True)
    staged = scene.staging / str(IMAGE.digest)
    staged.write_bytes(IMAGE.data)
    for os_version, package in ((OS, name), (name, "docker")):
        try:
            Store(scene.node.layout, OS).place(staged, os_version, package, "17.03")
        except PermanentError:
            continue
    return scene.judge()


@pytest.mark.accepts("A9")
@pytest.mark.parametrize("os_version", ["../../../evil", "1576.4.0/../../x", "1576.4.0?x=", "1576.4.0#"], ids=ascii)
@attack(removed(manifest_url, "component", unchanged), removed(manifest_url, "quote", unchanged))
def test_an_os_version_that_leads_to_another_url(os_version: str) -> str:
    template = "https://bucket.example/manifests/{{.Board}}/{{.OSVersion}}/torcx_manifest.json"
    try:
        url = manifest_url.render_url(template, BOARD, os_version)
    except PermanentError:
        return ""
    except Exception as error:
        return "" if "filled in" in str(error) else repr(error)
    expected = template.replace("{{.Board}}", BOARD).split("{{")[0]
    tail = url.removeprefix(expected).removesuffix("/torcx_manifest.json")
    return url if set(tail) & set("/?#") else ""


# What is signed, and for what.


@pytest.mark.accepts("A6")
@pytest.mark.parametrize(
    "notations",
    [
        {signature.OS_VERSION: OTHER_OS},
        {signature.BOARD: "arm64-usr", signature.OS_VERSION: OS},
        {signature.OS_VERSION: OTHER_OS, signature.BOARD: BOARD},
    ],
    ids=["os", "board", "both"],
)
@attack(removed(signature, "_notations", lambda status: []))
async def test_a_manifest_signed_for_another_os_version_or_board(scene: Scene, notations: dict[str, str]) -> str:
    data = json.dumps(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data)))).encode()
    options = [word for name, value in notations.items() for word in ("--sig-notation", f"{name}={value}")]
    scene.forge_signed(data, sign(scene.key, data, *options))
    return await scene.stage()


@pytest.mark.accepts("A6")
async def test_a_signature_that_names_its_purpose_counts_for_it(scene: Scene) -> None:
    data = json.dumps(document(version(IMAGE, scene.offer(IMAGE.data)))).encode()
    scene.bucket.signed.add((scene.key.fingerprint, OS, data))
    options = ["--sig-notation", f"{signature.OS_VERSION}={OS}", "--sig-notation", f"{signature.BOARD}={BOARD}"]
    # What others say of it is their business.
    options += ["--sig-notation", "ticket@example.com=4711"]
    scene.forge_signed(data, sign(scene.key, data, *options))
    assert await scene.stage() == ""
    assert scene.error is None


@pytest.mark.accepts("A6")
async def test_without_a_notation_a_manifest_of_another_os_version_cannot_be_told(scene: Scene) -> None:
    """The limit that docs/security.md states: the format does not bind a manifest, only a notation does."""
    data = json.dumps(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data)))).encode()
    scene.forge_signed(data, sign(scene.key, data))
    assert "I2" in await scene.stage()


@pytest.mark.accepts("A6")
@attack(removed(signature, "_OBJECTIONS", {}), removed(signature.Verifier, "_judge", lambda self, result, *_: "any"))
async def test_an_old_manifest_of_the_same_version_whose_signature_has_expired(scene: Scene) -> str:
    """Expiring signatures are what a publisher has against a bucket that serves what was withdrawn."""
    data = json.dumps(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data)))).encode()
    past = ["--faked-system-time", "20200101T000000!", "--ignore-time-conflict", "--ignore-valid-from"]
    scene.forge_signed(data, sign(scene.key, data, *past, "--default-sig-expire", "30d"))
    return await scene.stage()


@pytest.mark.accepts("A6")
@pytest.mark.parametrize("old", ["manifest", "signature"])
@attack(removed(signature.Verifier, "_judge", lambda self, result, *_: "any"))
async def test_manifest_and_signature_of_different_moments(scene: Scene, old: str) -> str:
    before = json.dumps(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data)))).encode()
    now = json.dumps(document(version(IMAGE, scene.offer(IMAGE.data, "/new.torcx.tgz")))).encode()
    scene.bucket.signed.clear()
    data, signed = (before, now) if old == "manifest" else (now, before)
    scene.forge_signed(data, sign(scene.key, signed))
    return await scene.stage()


# How the digest is written, and the document.


def _digests(image: TorcxImage) -> dict[str, str]:
    hexed = image.digest.hex
    return {
        "shorter": f"sha512-{hexed[:64]}",
        "longer": f"sha512-{hexed}00",
        "weak": f"md5-{hashlib.md5(image.data).hexdigest()}",
        "named otherwise": f"sha256-{hexed}",
        "prefixed": f"sha512-0x{hexed[2:]}",
        "line break": f"sha512-{hexed}\n",
        "other digits": "sha512-" + "".join(chr(ord(each) + 0xFEE0) for each in hexed),
        "path": f"sha512-{'../' * 8}{hexed[24:]}",
    }


def _lax(reader: Any, entry: Any, path: str) -> Any:
    algorithm, _, digits = entry["hash"].partition("-")
    return Digest(algorithm, digits)


@pytest.mark.accepts("N2")
@pytest.mark.parametrize("case", list(_digests(IMAGE)))
@attack(removed(manifest._Reader, "digest", _lax))
async def test_a_digest_that_is_none(scene: Scene, case: str) -> str:
    entry = {**version(IMAGE, scene.offer(IMAGE.data)), "hash": _digests(IMAGE)[case]}
    scene.forge_manifest(document(entry))
    try:
        got = await scene.stage()
    except Exception as error:
        return f"the program fails in a way of its own: {error!r}"
    refused = isinstance(scene.error, PermanentError) and "versions[0].hash" in scene.error.message
    return got or ("" if refused else f"not refused for what it is: {scene.error}")


@pytest.mark.accepts("N2")
@pytest.mark.parametrize("padding", ["[" * 100_000 + "]" * 100_000, "9" * 10_000], ids=["deep", "huge number"])
@attack(removed(manifest._Reader, "decode", lambda self, data: json.loads(data)))
async def test_json_that_a_parser_chokes_on(scene: Scene, padding: str) -> str:
    value = json.dumps(document(version(IMAGE, scene.offer(IMAGE.data)))["value"])
    scene.forge_manifest(f'{{"kind": "torcx-package-list-v0", "value": {value}, "x": {padding}}}'.encode())
    try:
        await scene.stage()
    except (RecursionError, ValueError) as error:
        return f"the program fails in a way of its own: {error!r}"
    assert isinstance(scene.error, PermanentError)
    assert scene.error.exit_code == EX_DATAERR
    return ""


@pytest.mark.accepts("N2")
@attack(removed(manifest._Reader, "unique", lambda self, pairs: dict(pairs)))
async def test_a_key_twice_hides_what_a_reviewer_reads(scene: Scene) -> str:
    value = json.dumps(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data)))["value"])
    shown = json.dumps(document(version(IMAGE, scene.offer(IMAGE.data, "/shown.torcx.tgz")))["value"])
    scene.forge_manifest(f'{{"kind": "torcx-package-list-v0", "value": {shown}, "value": {value}}}'.encode())
    return await scene.stage()


@pytest.mark.accepts("A6")
@attack(removed(signature.Verifier, "_judge", lambda self, result, *_: "any"))
async def test_what_was_verified_is_what_is_read(scene: Scene) -> str:
    """A server that tells the manifest twice, differently: there is one request for it, and one answer."""
    good = json.dumps(document(version(IMAGE, scene.offer(IMAGE.data)))).encode()
    evil = json.dumps(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data, "/other.torcx.tgz")))).encode()
    answers = [evil, good, evil, good]

    async def alternate(_request: Any) -> Response:
        return Response(200, {}, answers.pop(0))

    scene.forged[manifest_path(OS)] = alternate
    scene.forged[manifest_path(OS) + ".asc"] = Response(200, {}, sign(scene.key, good))
    return await scene.stage()
