"""The choice of Docker and of images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torcxd.errors import PermanentError
from torcxd.lifecycle.catalog import Digest, Location, Package, PackageManifest, PackageVersion
from torcxd.lifecycle.facts import Plan, Target
from torcxd.lifecycle.plan import has_addons, os_versions_to_stage, resolve

OLD, NEW = "1520.8.0", "1576.4.0"
TARGET = Target("amd64-usr", OLD, NEW, "v1.8.4", "the API server", ("17.03", "1.13", "1.12"), "the ConfigMap x/y")


def version(name: str, *locations: Location) -> PackageVersion:
    return PackageVersion(name, Digest("sha512", name.replace(".", "").ljust(128, "0")), locations)


def remote(name: str) -> PackageVersion:
    return version(name, Location(url=f"https://bucket.example/docker-{name}.tgz"))


def vendored(name: str) -> PackageVersion:
    return version(
        name,
        Location(path=f"/usr/share/torcx/store/docker:{name}.torcx.tgz"),
        Location(url=f"https://bucket.example/docker-{name}.tgz"),
    )


def manifest(*versions: PackageVersion) -> PackageManifest:
    return PackageManifest({"docker": Package("docker", versions[0].version if versions else "", versions)})


@pytest.mark.accepts("A18")
def test_the_coming_os_decides_and_the_running_one_gets_it_too_where_it_is_offered() -> None:
    plan = resolve(
        Plan(TARGET, NEW),
        {NEW: manifest(remote("1.12"), remote("1.13")), OLD: manifest(remote("17.03"), remote("1.13"))},
    )
    assert plan.docker == "1.13"
    assert [(each.os_version, each.reference) for each in plan.images] == [(NEW, "1.13"), (OLD, "1.13")]
    assert plan.resolved


@pytest.mark.accepts("A18")
def test_the_running_os_may_lack_what_the_coming_one_decides() -> None:
    plan = resolve(Plan(TARGET, NEW), {NEW: manifest(remote("17.03")), OLD: manifest(remote("1.12"))})
    assert [(each.os_version, each.reference) for each in plan.images] == [(NEW, "17.03")]


@pytest.mark.accepts("A18")
def test_without_an_update_the_running_os_decides() -> None:
    target = replace(TARGET, next_os=None)
    assert os_versions_to_stage(target) == (OLD,)
    assert resolve(Plan(target, OLD), {OLD: manifest(remote("1.12"))}).docker == "1.12"


@pytest.mark.accepts("A19")
def test_an_image_in_the_os_images_own_store_has_its_path_and_its_url_as_a_fallback() -> None:
    image = resolve(Plan(replace(TARGET, next_os=None), OLD), {OLD: manifest(vendored("1.12"))}).images[0]
    assert image.vendor_path == "/usr/share/torcx/store/docker:1.12.torcx.tgz"
    assert image.urls == ("https://bucket.example/docker-1.12.tgz",)


def test_a_path_outside_the_os_images_stores_is_not_believed() -> None:
    strange = version("1.12", Location(path="/tmp/docker:1.12.torcx.tgz"), Location(url="https://bucket.example/d"))
    image = resolve(Plan(replace(TARGET, next_os=None), OLD), {OLD: manifest(strange)}).images[0]
    assert image.vendor_path is None


def test_a_version_without_any_location_is_not_offered() -> None:
    plan = resolve(Plan(replace(TARGET, next_os=None), OLD), {OLD: manifest(version("17.03"), remote("1.12"))})
    assert plan.docker == "1.12"


@pytest.mark.parametrize("deciding", [manifest(remote("18.06")), manifest(), PackageManifest({})])
def test_no_accepted_version_is_an_error_that_names_both_sides(deciding: PackageManifest) -> None:
    with pytest.raises(
        PermanentError, match=r"manifest of OS version 1576\.4\.0 offers .* accepts only 17\.03, 1\.13"
    ) as e:
        resolve(Plan(TARGET, NEW), {NEW: deciding, OLD: manifest(remote("17.03"))})
    assert "the ConfigMap x/y" in e.value.hint
    assert e.value.exit_code == 65


@pytest.mark.accepts("A36")
def test_os_versions_before_the_first_with_addons_are_left_alone() -> None:
    assert not has_addons("1520.2.0")
    assert has_addons("1520.3.0")
    assert os_versions_to_stage(replace(TARGET, current_os="1465.8.0")) == (NEW,)
    assert os_versions_to_stage(replace(TARGET, current_os="1409.7.0", next_os="1465.8.0")) == ()
    plan = resolve(Plan(replace(TARGET, current_os="1409.7.0", next_os="1465.8.0"), "1465.8.0"), {})
    assert (plan.resolved, plan.docker, plan.images) == (True, None, ())


@pytest.mark.accepts("A5")
def test_without_torcx_setup_no_manifest_is_wanted() -> None:
    assert os_versions_to_stage(replace(TARGET, stage=False)) == ()
