"""YAML whose scalars stay what was written: text. Only null is something else.

``1.10`` must not become the number 1.1, nor ``no`` False, nor a token of digits an integer. Whoever reads the document
knows which field is what. Repeated keys, anchors and tags are refused: the first hide a mistake, the second can make a
few lines expand to gigabytes, and nothing read here needs the third.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, Final

import yaml

# Far above what a kubeconfig needs; PyYAML's composer recurses and would run out of stack at some hundreds.
_DEEPEST: Final = 32
# A cluster, a user and a context are some 40 values together, and a node knows one or two of each. PyYAML takes up to
# 0.1 ms and 600 bytes for each value, so that a megabyte of them would take a minute and 300 MB.
_MOST: Final = 10_000
_NULL: Final = "tag:yaml.org,2002:null"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class NotYaml(ValueError):
    """The text is not acceptable YAML. The message names the line, and quotes nothing that may be a secret."""


class _Loader(yaml.BaseLoader):
    """Builds dicts, lists, str and None."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise NotYaml(f"line {line}: anchors and aliases are not accepted")
        if getattr(event, "tag", None) is not None:
            raise NotYaml(f"line {line}: tags are not accepted")
        if self._depth == _DEEPEST:
            raise NotYaml(f"line {line}: nested more than {_DEEPEST} deep")
        self._values += 1
        if self._values > _MOST:
            raise NotYaml(f"line {line}: more than {_MOST} values")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and _SURROGATE.search(node.value):
            # As an escape in quotes. No file, header or log takes it.
            raise NotYaml(f"line {line}: half a character")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise NotYaml(f"line {key.start_mark.line + 1}: a key that is no plain text")
            if key.value in seen:
                raise NotYaml(f"line {key.start_mark.line + 1}: the key {key.value[:100]!a} a second time")
            seen.add(key.value)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def construct_null(self, node: yaml.Node) -> None:
        return None


_Loader.add_implicit_resolver(_NULL, re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_constructor(_NULL, _Loader.construct_null)


def parse(text: str) -> Any:
    """Read one document.

    :returns: ``dict`` with ``str`` keys, ``list``, ``str`` or None, nested.
    :raises NotYaml: the text is no YAML, or has more than one document, repeated keys, anchors, tags or deep nesting.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        # Not str(error): that quotes the line, which may hold a key.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise NotYaml(f"line {line}: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise NotYaml(f"character {error.position}: {error.reason}") from None
    except NotYaml:
        raise
    except (ValueError, OverflowError):
        # PyYAML's own, which it does not check: the escape \U00110000, or a version of a thousand digits.
        raise NotYaml("an escape or a number beyond all that there is") from None
