"""What must not be told, on its way to whoever reads the log, the record, an error or the list of processes."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.hostile.attack import attack, removed, unchanged
from tests.hostile.conftest import Ring
from tests.hostile.scene import IMAGE, Scene, document, version
from torcxd.addons import manifest
from torcxd.daemon import addons
from torcxd.errors import TorcxdError
from torcxd.http import HttpClient, HttpError, Proxies, response
from torcxd.http import client as client_module
from torcxd.http import errors as http_errors
from torcxd.http.url import Url
from torcxd.kube import plain_yaml
from torcxd.kube.access import ClusterAccess, Material
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.sandbox.http_server import Request, Response, serve

SECRET: Final = "hunter2"


def told(error: TorcxdError | None, *texts: str) -> str:
    """Where the secret is told; empty when nowhere."""
    everything = [*texts, *([error.message, error.hint, repr(error)] if error else [])]
    return next((each for each in everything if SECRET in each), "")


@pytest.mark.parametrize("where", ["userinfo", "query"])
@pytest.mark.parametrize("verified", [True, False], ids=["verified", "unverified"])
@attack(removed(addons, "redact", unchanged))
async def test_the_password_of_the_bucket(
    scene: Scene, ring: Ring, caplog: pytest.LogCaptureFixture, where: str, verified: bool
) -> str:
    caplog.set_level(logging.DEBUG)
    url = scene.bucket.manifest_template
    scene.flags["no_verify_signatures"] = not verified
    scene.flags["torcx_manifest_url"] = (
        url.replace("://", f"://user:{SECRET}@") if where == "userinfo" else f"{url}?X-Amz-Signature={SECRET}"
    )
    # Good enough to be fetched, and bad enough to be told of.
    scene.forge_manifest({"kind": "other"}, signer=ring.good if not verified else ring.foreign)
    await scene.fetch()
    assert scene.error is not None
    return told(scene.error, caplog.text)


@attack(removed(manifest, "_secret", lambda url: ""))
async def test_a_password_in_a_manifest_that_would_be_in_the_record(scene: Scene) -> str:
    """The record is readable for everybody on the node, for `torcxd status`."""
    url = scene.offer(IMAGE.data).replace("://", f"://user:{SECRET}@")
    scene.forge_manifest(document(version(IMAGE, url)))
    plan = await scene.fetch()
    return told(scene.error, str(plan))


@attack(removed(response, "redact", unchanged))
async def test_a_signed_url_behind_a_redirect() -> str:
    async def answer(request: Request) -> Response:
        return Response(302, {"Location": f"/x?sig={SECRET}"}) if request.path == "/" else Response(403)

    client = HttpClient()
    async with serve(answer) as server:
        try:
            response.raise_for_status(await client.get(server.url))
        except HttpError as error:
            return told(error)
        finally:
            await client.aclose()
    return "no error"


@attack(removed(client_module, "redact", unchanged))
async def test_the_url_that_fails() -> str:
    async def answer(_request: Request) -> Response:
        return Response(200, {}, bytes(100))

    client = HttpClient()
    async with serve(answer) as server:
        try:
            await client.get(f"{server.url}/x?token={SECRET}", max_bytes=10)
        except (HttpError, ValueError) as error:
            return SECRET if SECRET in str(error) else ""
        finally:
            await client.aclose()
    return "no error"


async def test_the_password_of_a_proxy() -> None:
    proxies = Proxies.from_environment({"HTTP_PROXY": f"http://user:{SECRET}@127.0.0.1:1"})
    client = HttpClient(proxies=proxies)
    with pytest.raises(HttpError) as caught:
        await client.get("http://bucket.example/")
    assert not told(caught.value, repr(proxies))
    assert caught.value.reason is http_errors.Reason.CONNECT
    await client.aclose()


# The kubeconfig.


def _loose(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise plain_yaml.NotYaml(str(error)) from None


@pytest.mark.parametrize(
    "text",
    [
        f"users:\n- user:\n    token: {SECRET}: x\n",
        f"users:\n- user:\n    token: '{SECRET}\n",
        f"users: [{SECRET}\nx: y: z",
        f"token: *{SECRET}",
        f"token: !{SECRET} x",
    ],
    ids=["colon", "quote", "list", "alias", "tag"],
)
@attack(removed(plain_yaml, "parse", _loose))
def test_what_a_broken_kubeconfig_holds(tmp_path: Path, text: str) -> str:
    (path := tmp_path / "kubeconfig").write_text(text)
    try:
        load_kubeconfig(path)
    except TorcxdError as error:
        return told(error)
    return "no error"


@attack(removed(ClusterAccess, "__repr__", lambda access: str([getattr(access, each.name) for each in fields(access)])))
def test_what_is_shown_of_credentials() -> str:
    material = Material("here", content=SECRET.encode())
    proxy = Url.parse(f"http://user:{SECRET}@proxy.example/")
    access = ClusterAccess(
        "here", "https://h", token=material, client_key=material, basic=f"user:{SECRET}", proxy=proxy
    )
    return told(None, repr(access), str(access), repr(material), repr(proxy), str(proxy))
