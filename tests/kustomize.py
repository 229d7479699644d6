"""Puts together what is in ``deploy/`` as kustomize does, as far as it is used there: resources and JSON patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from torcxd.sandbox.apiserver_patch import apply_json_patch

DEPLOY: Final = Path(__file__).resolve().parents[1] / "deploy"
# What an administrator applies.
DEPLOYMENTS: Final = ("daemon", "overlays/hook-cluo", "overlays/hook-fluo")
_KNOWN: Final = {"apiVersion", "kind", "resources", "patches"}


def render(folder: Path) -> list[dict[str, Any]]:
    """The objects of the kustomization in *folder*.

    :raises ValueError: it uses what is not known here, names an object twice, or a patch fits none or several.
    """
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if not kustomization.keys() <= _KNOWN:
        raise ValueError(f"{folder}: {kustomization.keys() - _KNOWN} is not known")
    objects: list[dict[str, Any]] = []
    for resource in kustomization["resources"]:
        path = (folder / resource).resolve()
        objects += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    names = [identity(each) for each in objects]
    if len(set(names)) != len(names):
        raise ValueError(f"{folder}: an object is there twice: {sorted(names)}")
    for patch in kustomization.get("patches", []):
        target = (patch["target"]["kind"], patch["target"]["name"])
        (index,) = (number for number, (kind, _, name) in enumerate(names) if (kind, name) == target)
        objects[index] = apply_json_patch(objects[index], yaml.safe_load(patch["patch"]))
    return objects


def deployment(name: str) -> list[dict[str, Any]]:
    """The objects of one of the DEPLOYMENTS."""
    return render(DEPLOY / name)


def identity(document: dict[str, Any]) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"]
