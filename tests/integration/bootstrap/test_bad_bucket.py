"""A bucket that fails, lies or is forged: what may pass is tried again and shown, what may not ends the run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.bootstrap.bench import QUIET, UPDATING, Bench, OpenBench
from torcxd.errors import EX_CONFIG, EX_DATAERR, EX_TEMPFAIL, EX_UNAVAILABLE
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.http_server import Server
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.sandbox import BOARD, NEW_OS, OLD_OS, Plot

MANIFEST = "torcx_manifest.json"
IMAGE = "docker:17.03.torcx.tgz"
# Large enough that a cut one has something worth keeping: what arrives is written a MiB at a time.
LARGE = Plot(next_os=None, update_seconds=0, image_bytes=5_000_000)


def image_requested(server: Server) -> bool:
    return any(each.path.startswith("/torcx/") for each in server.requests)


def assert_untouched(node: Bench) -> None:
    """Nothing was placed, pinned, rebooted or published."""
    assert node.stored() == set()
    assert not node.path("/etc/torcx").exists()
    assert node.box.records.entries == []
    assert not node.bootstrapped


async def assert_ends(node: Bench, code: int, *words: str, flags: tuple[str, ...] = ()) -> None:
    """The run ends with *code* and says these words; so does ``status``."""
    ended = await node.bootstrap(*flags)
    node.assert_failed(ended, code, *words)
    assert_untouched(node)
    told = (await node.status())["last_error"]
    assert all(each in f"{told['message']} {told['hint']}" for each in words), told


async def assert_completes(node: Bench) -> None:
    """With everything mended, the node gets where it would have got."""
    ended = await node.to_the_end()
    assert (ended.code, node.bootstrapped) == (0, True), ended.stderr
    assert not list(node.path("/var/lib/torcx/torcxd-staging").iterdir())


# Manifests.


@pytest.mark.accepts("A24", "N5")
@pytest.mark.parametrize("part", [MANIFEST, ".asc"], ids=["manifest", "signature"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [(Fault.NOT_FOUND, "404"), (Fault.FORBIDDEN, "403")],
)
async def test_a_manifest_that_is_not_there_ends_the_run(bench: OpenBench, part: str, fault: Fault, words: str) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail(part, fault)
        await assert_ends(node, EX_UNAVAILABLE, f"{OLD_OS}/{MANIFEST}", words)
        node.box.bucket.heal()
        await assert_completes(node)


@pytest.mark.accepts("A24", "N5")
@pytest.mark.parametrize("part", [MANIFEST, ".asc"], ids=["manifest", "signature"])
@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.TRUNCATED, Fault.RESET])
async def test_a_manifest_that_may_come_later_is_tried_again(bench: OpenBench, part: str, fault: Fault) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail(part, fault)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("failed (attempt 1)")
            await node.assert_told(MANIFEST)
            assert_untouched(node)
            node.box.bucket.heal()
            # It goes on by itself once the back-off is over.
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("A24")
async def test_a_bucket_that_stays_away_ends_the_run_for_its_unit_to_try_again(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail(MANIFEST, Fault.UNAVAILABLE)
        await assert_ends(node, EX_TEMPFAIL, "503", flags=("--retry-for=0.01s",))
        assert (await node.status())["attempts"] == 2


@pytest.mark.accepts("A6", "A24")
@pytest.mark.parametrize("part", [f"{MANIFEST}.asc", "/manifests/"], ids=["signature", "both"])
async def test_a_portal_in_place_of_the_bucket_ends_the_run(bench: OpenBench, part: str) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail(part, Fault.HTML)
        await assert_ends(node, EX_DATAERR, f"{MANIFEST}", "not a detached OpenPGP signature")


def _wrong_kind(manifest: dict[str, Any]) -> None:
    manifest["kind"] = "torcx-package-list-v9"


def _hash(text: str) -> Callable[[dict[str, Any]], None]:
    def edit(manifest: dict[str, Any]) -> None:
        for each in manifest["value"]["packages"][0]["versions"]:
            each["hash"] = text

    return edit


def _no_docker(manifest: dict[str, Any]) -> None:
    manifest["value"]["packages"] = []


def _no_versions(manifest: dict[str, Any]) -> None:
    manifest["value"]["packages"][0]["versions"] = "none"


def _no_location(manifest: dict[str, Any]) -> None:
    for each in manifest["value"]["packages"][0]["versions"]:
        each["locations"] = []


def _wrong_url(manifest: dict[str, Any]) -> None:
    for each in manifest["value"]["packages"][0]["versions"]:
        each["locations"] = [{"url": "ftp://example.com/docker.tgz"}]


@pytest.mark.accepts("A24")
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_wrong_kind, ["kind", "torcx-package-list-v9"]),
        (_hash("md5-d41d8cd98f00b204e9800998ecf8427e"), ["hash", "md5"]),
        (_hash("sha512-abc"), ["hash"]),
        (_no_docker, [OLD_OS, "(none)"]),
        (_no_versions, ["versions"]),
        (_no_location, ["locations"]),
        (_wrong_url, ["locations[0].url"]),
    ],
    ids=["kind", "algorithm", "digest", "no-package", "versions", "no-location", "url"],
)
async def test_a_signed_manifest_that_makes_no_sense_ends_the_run(
    bench: OpenBench, edit: Callable[[dict[str, Any]], None], words: list[str]
) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.edit = edit
        await assert_ends(node, EX_DATAERR, *words)


SIGNATURES = {
    "unsigned": ("404", EX_UNAVAILABLE),
    "foreign": ("not in the keyring", EX_DATAERR),
    "expired": ("has expired", EX_DATAERR),
    "revoked": ("was revoked", EX_DATAERR),
    "other": ("made for other data", EX_DATAERR),
    "empty": ("empty", EX_DATAERR),
}


def sign_as(node: Bench, case: str) -> None:
    """Make the bucket's signatures as bad as *case* says, with the key known to the node where it has to be."""
    box = node.box
    match case:
        case "unsigned":
            box.bucket.key = None
        case "foreign":
            box.bucket.key = box.keys.make()
        case "expired":
            box.bucket.key = box.keys.make_expired()
            box.node.write("/etc/torcxd/pubring.gpg", box.bucket.key.public)
        case "revoked":
            box.bucket.key = box.keys.make_revoked()
            box.node.write("/etc/torcxd/pubring.gpg", box.bucket.key.public)
        case "other":
            box.bucket.fail(".asc", Fault.OTHER_DATA)
        case "empty":
            box.bucket.fail(".asc", Fault.SHORTENED, after=0)


@pytest.mark.accepts("A6", "A10", "A24", "I2")
@pytest.mark.parametrize("case", SIGNATURES)
async def test_a_signature_that_is_not_acceptable_ends_the_run(bench: OpenBench, case: str) -> None:
    words, code = SIGNATURES[case]
    async with bench(QUIET) as node:
        sign_as(node, case)
        await assert_ends(node, code, f"{MANIFEST}", words)
        # No image was even asked for.
        assert not [each for each in node.bucket_paths() if each.startswith("/torcx/")]


@pytest.mark.accepts("A6")
@pytest.mark.parametrize("case", ["unsigned", "foreign"])
async def test_without_verification_any_signature_will_do(bench: OpenBench, case: str) -> None:
    async with bench(QUIET) as node:
        sign_as(node, case)
        node.trust_everything()
        ended = await node.bootstrap("--no-verify-signatures=true")
        assert "is used unverified: --no-verify-signatures is set" in ended.stderr
        assert not [each for each in node.bucket_paths() if each.endswith(".asc")]
        await node.box.reboot()
        assert (await node.bootstrap("--no-verify-signatures=true")).code == 0


@pytest.mark.accepts("A6")
async def test_an_armored_keyring_is_as_good(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.node.write("/elsewhere/keys.asc", node.box.key.armored)
        assert (await node.to_the_end("--keyring=/elsewhere/keys.asc")).code == 0


@pytest.mark.accepts("A6")
@pytest.mark.parametrize("content", [None, b"", b"not a key"], ids=["missing", "empty", "junk"])
async def test_an_unusable_keyring_is_a_wrong_configuration(bench: OpenBench, content: bytes | None) -> None:
    async with bench(QUIET) as node:
        node.path("/etc/torcxd/pubring.gpg").unlink()
        if content is not None:
            node.box.node.write("/etc/torcxd/pubring.gpg", content)
        await assert_ends(node, EX_CONFIG, "/etc/torcxd/pubring.gpg", "--keyring")


@pytest.mark.accepts("A6")
async def test_an_unusable_keyring_is_found_before_a_long_os_update(bench: OpenBench) -> None:
    # The update is far from its end when the test is.
    async with bench(replace(UPDATING, update_seconds=3600)) as node:
        node.box.node.write("/etc/torcxd/pubring.gpg", b"not a key")
        await assert_ends(node, EX_CONFIG, "/etc/torcxd/pubring.gpg", "--keyring")


@pytest.mark.accepts("A8")
@pytest.mark.parametrize(
    ("template", "words"),
    [("https://x/{{.Nope}}/m.json", "{{.Nope}}"), ("ftp://x/m.json", "http"), ("nonsense", "http")],
)
async def test_a_wrong_template_is_a_wrong_configuration(bench: OpenBench, template: str, words: str) -> None:
    async with bench(QUIET) as node:
        # Before anything is asked or recorded.
        ended = await node.bootstrap(f"--torcx-manifest-url={template}")
        node.assert_failed(ended, EX_CONFIG, "--torcx-manifest-url", words)


# Images.


@pytest.mark.accepts("A24", "I2", "N5")
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Fault.NOT_FOUND, EX_UNAVAILABLE, "404"),
        (Fault.WRONG_CONTENT, EX_DATAERR, "wrong content"),
        (Fault.SHORTENED, EX_DATAERR, "wrong content"),
        (Fault.LARGER, EX_DATAERR, "wrong content"),
        (Fault.HTML, EX_DATAERR, "wrong content"),
    ],
)
async def test_an_image_that_is_not_the_signed_one_ends_the_run(
    bench: OpenBench, fault: Fault, code: int, words: str
) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail(IMAGE, fault)
        await assert_ends(node, code, IMAGE.replace(":", "%3A"), words)
        node.box.bucket.heal()
        await assert_completes(node)


@pytest.mark.accepts("A24", "I2", "N2", "N5", "N7")
@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.RESET, Fault.UNAVAILABLE])
async def test_a_download_that_was_cut_is_resumed(bench: OpenBench, fault: Fault) -> None:
    async with bench(LARGE) as node:
        node.box.bucket.fail(IMAGE, fault, times=1)
        async with node.start("bootstrap", *node.box.flags) as process:
            await process.says("failed (attempt 1)")
            await node.assert_told("17.03.torcx.tgz")
            assert_untouched(node)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        images = [each for each in node.box.bucket_server.requests if each.path.startswith("/torcx/")]
        assert len(images) == 2
        if fault is Fault.TRUNCATED:
            # Half of it had arrived; the rest is asked for on the condition that it is still the same.
            half = len(docker_image("17.03", LARGE.image_bytes).data) // 2
            assert images[1].headers["range"] == f"bytes={half}-"
            assert images[1].headers["if-range"]
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("N2", "N7")
async def test_a_download_goes_on_after_the_process_was_killed(bench: OpenBench) -> None:
    async with bench(LARGE) as node:
        node.box.bucket.fail(IMAGE, Fault.STALLED, times=1)
        async with node.start("bootstrap", *node.box.flags) as process:
            await node.holds_partial(1 << 20)
            process.send(signal.SIGKILL)
        assert_untouched(node)
        await assert_completes(node)
        images = [each for each in node.box.bucket_server.requests if each.path.startswith("/torcx/")]
        assert images[1].headers["range"].startswith("bytes=")


@pytest.mark.accepts("A24", "N5")
async def test_an_endlessly_slow_image_is_shown_and_can_be_ended(bench: OpenBench) -> None:
    async with bench(LARGE) as node:
        node.box.bucket.fail(IMAGE, Fault.TRICKLE, times=1)
        async with node.start("bootstrap", *node.box.flags) as process:
            await node.box.bucket_server.wait_until(image_requested)
            report = await node.status()
            assert report["state"] == "fetching"
            process.send(signal.SIGTERM)
        assert process.code == 128 + signal.SIGTERM
        assert_untouched(node)
        await assert_completes(node)


@pytest.mark.accepts("A24")
async def test_an_image_without_end_does_not_fill_the_disk(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail(IMAGE, Fault.ENDLESS)
        with node.small_disk("/var/lib/torcx", 8 << 20):
            async with node.start("bootstrap", *node.box.flags) as process:
                await process.says("failed (attempt 1)")
                await node.assert_told("No space left")
                process.send(signal.SIGTERM)
            assert node.stored() == set()


# Both OS versions.


@pytest.mark.accepts("A18", "A24", "I3")
@pytest.mark.parametrize("version", [OLD_OS, NEW_OS])
@pytest.mark.parametrize("what", ["manifest", "image"])
async def test_no_reboot_while_either_os_version_lacks_its_set(bench: OpenBench, version: str, what: str) -> None:
    async with bench(UPDATING) as node:
        if what == "manifest":
            node.box.bucket.withdraw(BOARD, version)
        else:
            size = UPDATING.image_bytes + (10_000 if version == NEW_OS else 0)
            node.box.bucket.fail(docker_image("17.03", size).digest.hex, Fault.WRONG_CONTENT)
        ended = await node.bootstrap()
        node.assert_failed(ended, EX_UNAVAILABLE if what == "manifest" else EX_DATAERR)
        assert node.box.reboots == 0
        assert node.stored() == set()


@pytest.mark.accepts("A18")
async def test_the_running_os_may_lack_the_docker_of_the_next_one(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.box.bucket.publish(BOARD, OLD_OS, docker_image("1.13", 5_000))
        await node.bootstrap()
        assert node.stored() == {f"{NEW_OS}/{IMAGE}"}
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("A6", "A24")
@pytest.mark.parametrize(
    ("fault", "words"), [(Fault.SHORTENED, "not JSON"), (Fault.HTML, "not JSON"), (Fault.WRONG_CONTENT, "not usable")]
)
async def test_a_damaged_manifest_is_refused_also_without_verification(
    bench: OpenBench, fault: Fault, words: str
) -> None:
    async with bench(QUIET) as node:
        node.box.bucket.fail(MANIFEST, fault)
        await assert_ends(node, EX_DATAERR, MANIFEST, words, flags=("--no-verify-signatures=true",))
