"""Writes the generated diagrams anew: states/lifecycle.mmd, states/lifecycle.dot, and the picture in the README."""

from __future__ import annotations

import re
from pathlib import Path

from torcxd.charts import load_chart
from torcxd.lifecycle.diagram import dot, mermaid

TOP = Path(__file__).parent.parent


def main() -> None:
    chart = load_chart()
    (TOP / "states/lifecycle.mmd").write_text(mermaid(chart), encoding="utf-8")
    (TOP / "states/lifecycle.dot").write_text(dot(chart), encoding="utf-8")
    readme = TOP / "README.md"
    picture = f"```mermaid\n{mermaid(chart)}```"
    text = re.sub(r"```mermaid\n.*?```", lambda _: picture, readme.read_text(encoding="utf-8"), flags=re.DOTALL)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
