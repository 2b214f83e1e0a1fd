"""README for an index of packages, which has no folders: relative links lead to the repository, at the version's tag."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    """Sets `readme`, which is dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Write the text of README.md with absolute links into the metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        version = re.search(
            r'^__version__ = "(.*)"$',
            (Path(self.root) / "mpcompile" / "__init__.py").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        assert version is not None
        where = f"{metadata['urls']['Repository']}/{{}}/v{version[1]}/"
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, where)}


def absolute(text: str, where: str) -> str:
    """Return Markdown whose relative links begin with `where`; `{}` in it is `raw` of pictures and `blob` of pages."""
    pattern = re.compile(r"(!?)(\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?!\w+:|#)([^)\s]+)(?=[)\s])")
    return pattern.sub(lambda m: f"{m[1]}{m[2]}{where.format('raw' if m[1] else 'blob')}{m[3]}", text)
