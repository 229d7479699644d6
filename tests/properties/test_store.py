"""The store: whatever is staged, placed, collected and disturbed, in whatever order,
a model says what must be there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.properties.examples import examples, folder, tried
from torcxd.addons.hashing import Digests
from torcxd.addons.staging import Staging
from torcxd.addons.store import SQUASHFS, TGZ, Store
from torcxd.errors import PermanentError, TorcxdError
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.versions import parse_os_version
from torcxd.paths import Layout

VERSIONS = ["1520.8.0", "1576.4.0", "1576.4.0-rc.1", "1632.2.1", "1632.2.1+build"]
NAME = "docker"
REFERENCES = st.sampled_from(["1.12", "17.03"])
CONTENTS = [b"one", b"two" * 50, b""]
VERSION = st.sampled_from(VERSIONS)
CONTENT = st.sampled_from(CONTENTS)


def digest_of(content: bytes, algorithm: str = "sha512") -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, content).hexdigest())


class Node(RuleBasedStateMachine):
    """A node's stores and staging directory. The model: the content of each file that a store has."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = folder()
        self.layout = Layout(Path(self.directory.name))
        self.running = VERSIONS[1]
        self.staging = self.fresh_staging()
        # What is staged, what was placed (path to content), and what the OS image and the OEM bring.
        self.staged: set[bytes] = set()
        self.placed: dict[Path, bytes] = {}
        self.brought: dict[Path, bytes] = {}
        # Directories of OS versions that are there, and files of others' in the store.
        self.foreign: set[Path] = set()
        tried()

    def teardown(self) -> None:
        self.directory.cleanup()

    def fresh_staging(self) -> Staging:
        """As of a new process, which believes nothing that it has not hashed."""
        self.digests = Digests()
        self.store = Store(self.layout, self.running, self.digests)
        return Staging(self.layout.staging, self.digests)

    @initialize(versions=st.sets(VERSION))
    def a_node_that_has_been_in_use(self, versions: set[str]) -> None:
        self.download(CONTENTS[0], [])
        for each in sorted(versions):
            self.place(CONTENTS[0], each, "17.03")

    @rule()
    def start_anew(self) -> None:
        self.staging = self.fresh_staging()

    @rule(content=CONTENT, cuts=st.lists(st.integers(0, 150), max_size=2))
    def download(self, content: bytes, cuts: list[int]) -> None:
        """In pieces, each by a new process, which goes on where the one before was cut off."""
        digest = digest_of(content)
        for end in [*sorted(cuts), len(content)]:
            with self.staging.open_partial(digest) as partial:
                partial.rehash()
                partial.append([content[partial.size : end]])
        with self.staging.open_partial(digest) as partial:
            partial.rehash()
            assert partial.found() == digest
            self.staging.finish(partial)
        self.staged.add(content)

    @rule(content=CONTENT, wrong=st.binary(min_size=1, max_size=5))
    def download_what_is_wrong(self, content: bytes, wrong: bytes) -> None:
        with self.staging.open_partial(digest_of(content)) as partial:
            partial.empty()
            partial.append([content, wrong])
            assert partial.found() != digest_of(content)
            with pytest.raises(AssertionError, match="no right to"):
                self.staging.finish(partial)
            partial.empty()

    @rule(content=CONTENT, version=VERSION, reference=REFERENCES)
    def place(self, content: bytes, version: str, reference: str) -> None:
        """As the daemon does it: what is staged and right, under its final name."""
        if not trio.run(self.staging.holds, digest_of(content)):
            assert content not in self.staged
            return
        target = self.store.target(version, NAME, reference)
        # An image of the same name that torcx would prefer hides it: that is refused, unless it is the same.
        hiding = self.expected(version, reference, without=target)
        rank = self.order(version, reference)
        hidden = hiding is not None and rank.index(hiding) < rank.index(target) and self.content(hiding) != content
        if hidden:
            with pytest.raises(PermanentError, match="hides the verified image"):
                self.store.place(self.staging.path(digest_of(content)), version, NAME, reference)
        else:
            placed = self.store.place(self.staging.path(digest_of(content)), version, NAME, reference)
            assert placed == target
            assert placed.samefile(self.staging.path(digest_of(content))), "it was copied"
        self.placed[target] = content

    @rule(content=CONTENT, version=VERSION, reference=REFERENCES)
    def reuse(self, content: bytes, version: str, reference: str) -> None:
        """An image that another OS version's store has is linked, not fetched."""
        source = trio.run(self.store.find_digest, NAME, reference, digest_of(content))
        holders = [
            path for path, held in self.placed.items() if held == content and path.name == f"{NAME}:{reference}{TGZ}"
        ]
        assert (source is None) == (not holders)
        if source is None:
            return
        assert self.placed[source] == content
        target = self.store.target(version, NAME, reference)
        try:
            self.store.place(source, version, NAME, reference)
            assert source.samefile(target)
        except PermanentError as error:
            assert "hides the verified image" in error.hint  # noqa: PT017 - either way it is placed
        self.placed[target] = content

    @rule(content=CONTENT, reference=REFERENCES, where=st.integers(0, 4), suffix=st.sampled_from([TGZ, SQUASHFS]))
    def somebody_brings(self, content: bytes, reference: str, where: int, suffix: str) -> None:
        """An image in the vendor's, the OEM's or the user's common store; or a squashfs beside what torcxd places."""
        path = self.layout.stores(self.running)[where] / f"{NAME}:{reference}{suffix}"
        if where == 3 and suffix == TGZ:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.brought[path] = content

    @rule(data=st.data())
    def somebody_removes(self, data: st.DataObject) -> None:
        if self.brought:
            path = data.draw(st.sampled_from(sorted(self.brought)))
            path.unlink()
            del self.brought[path]

    @rule(name=st.sampled_from(["1500.0.0", "0.0.0", "current", "1520.8", "1.2.3.4"]), link=st.booleans())
    def somebody_makes(self, name: str, link: bool) -> None:
        """Something in the user's store that torcxd has not made."""
        path = self.layout.user_store / name
        if not os.path.lexists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if link:
                path.symlink_to(self.layout.root)
                self.foreign.add(path)
            else:
                path.mkdir()
                if name not in ("1500.0.0", "0.0.0"):
                    self.foreign.add(path)

    @rule(current=VERSION, next_=VERSION)
    def collect(self, current: str, next_: str) -> None:
        removed = self.store.gc(current, next_)
        kept = {parse_os_version(current), parse_os_version(next_)}
        for each in removed:
            assert parse_os_version(each) < parse_os_version(current)
            assert parse_os_version(each) not in kept
        gone = {self.layout.user_store / each for each in removed}
        for files in (self.placed, self.brought):
            for path in [path for path in files if path.parent in gone]:
                del files[path]
        # Nothing that is older is left.
        for each in self.store.versions():
            assert parse_os_version(each) in kept or not parse_os_version(each) < parse_os_version(current)

    @precondition(lambda self: self.placed)
    @rule(current=VERSION, data=st.data())
    def collect_before_a_boot_that_was_prepared(self, current: str, data: st.DataObject) -> None:
        """Of a version that is there; an older one is a way back."""
        self.collect(current, data.draw(st.sampled_from(sorted({each.parent.name for each in self.placed}))))

    @rule(unknown=st.sampled_from(["", "0.0.0", "../1520.8.0", "latest"]), known=VERSION, first=st.booleans())
    def collect_for_what_is_unknown(self, unknown: str, known: str, first: bool) -> None:
        with pytest.raises(PermanentError, match="is not known"):
            self.store.gc(*((unknown, known) if first else (known, unknown)))

    @rule(keep=st.sets(CONTENT))
    def clean(self, keep: set[bytes]) -> None:
        self.staging.clean({digest_of(each) for each in keep})
        self.staged &= keep
        left = {each.name for each in self.layout.staging.glob("*")}
        assert left == {str(digest_of(each)) for each in self.staged}

    @precondition(lambda self: self.staged)
    @rule(data=st.data(), cut=st.booleans())
    def staging_is_damaged(self, data: st.DataObject, cut: bool) -> None:
        """By a disk or a power cut: the file is another one than it was, and so is its time."""
        content = data.draw(st.sampled_from(sorted(self.staged)))
        path = self.staging.path(digest_of(content))
        path.unlink()
        path.write_bytes(content[:-1] if cut and content else content + b"x")
        self.staged.discard(content)
        assert not trio.run(self.staging.holds, digest_of(content))
        assert not os.path.lexists(path)

    @rule(name=st.sampled_from(["../x", "a/b", "..", "", "x y", "\n", "a" * 101]), version=VERSION)
    def a_name_that_leads_elsewhere(self, name: str, version: str) -> None:
        for arguments in ((version, name, "1"), (version, NAME, name), (name, NAME, "1")):
            with pytest.raises(TorcxdError):
                self.store.target(*arguments)

    # The model's own reading of where torcx looks.

    def order(self, version: str, reference: str) -> list[Path]:
        """All places of an image, in the order in which torcx takes them when *version* boots."""
        vendor, *others = self.layout.stores(version)
        stores = [vendor, *others] if version == self.running else others
        return [store / f"{NAME}:{reference}{suffix}" for suffix in (SQUASHFS, TGZ) for store in stores]

    def content(self, path: Path) -> bytes:
        return self.placed[path] if path in self.placed else self.brought[path]

    def expected(self, version: str, reference: str, without: Path | None = None) -> Path | None:
        there = (each for each in self.order(version, reference) if each in self.placed or each in self.brought)
        return next((each for each in there if each != without), None)

    @invariant()
    def torcx_uses_what_the_model_says(self) -> None:
        for version in VERSIONS:
            for reference in ("1.12", "17.03"):
                assert self.store.find(version, NAME, reference) == self.expected(version, reference)

    @rule(version=VERSION, reference=REFERENCES)
    def look(self, version: str, reference: str) -> None:
        """What is there is what was placed or brought last, and nothing else."""
        used = self.expected(version, reference)
        for content in CONTENTS:
            held = trio.run(self.store.holds, version, NAME, reference, digest_of(content))
            assert held == (used is not None and self.content(used) == content)

    @invariant()
    def every_final_name_has_what_was_verified(self) -> None:
        """I2, and nothing half-made beside it."""
        store = self.layout.user_store
        for path in store.glob("*/*") if store.exists() else ():
            if path.parent not in self.foreign:
                assert path.read_bytes() == self.content(path)
        for path in self.placed:
            assert path.stat().st_mode & 0o777 == 0o644

    @invariant()
    def what_is_others_stays(self) -> None:
        for path in self.foreign:
            assert os.path.lexists(path)


TestNode = pytest.mark.accepts("I2", "I5", "A29")(Node.TestCase)
TestNode.settings = examples(40, steps=20)
