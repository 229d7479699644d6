"""Runtime mappings: the ConfigMap's text or the installer's file, and the YAML below them."""

from __future__ import annotations

from typing import Final

import yaml

from tests.fuzz.oracle import demand, put, refusing, scratch
from torcxd.errors import PermanentError
from torcxd.kube.mappings import read_mappings

IMPORTANT: Final = True
WORDS: Final = (
    "kind: VersionManifestV1", "versions:", "k8s:", "1.8:", "docker:", "[17.03, '1.12']", "- ", "&a", "*a", "!!str ",
    '"\\U00110000"', '"\\ud800"', "%YAML 1.1\n---\n", "? ", "|\n", ">-\n", "{", "}", "<<:",
)  # fmt: skip


def check(data: bytes) -> None:
    path = put(scratch("mappings") / "runtime-mappings.yaml", data)
    with refusing(PermanentError):
        mappings = read_mappings(path)
        # PyYAML's own reading of what was accepted is the same.
        document = yaml.load(data.decode(), Loader=yaml.BaseLoader)
        table = {
            minor: {name: tuple(versions) for name, versions in packages.items()}
            for minor, packages in document["versions"]["k8s"].items()
        }
        demand(table == mappings.kubernetes, "PyYAML reads it in another way")
