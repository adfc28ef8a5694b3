"""The page's files: compressed once, and in a folder named after their content, so that a browser may keep them."""

import functools
import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
VENDOR = Path(__file__).parent / "vendor"  # libraries as they were published, with their licences
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Not modules of every view, so not named in the page.
SELDOM = {"too-old.js", "docs.js", "pdf.js", "vendor/pdfjs.js", "vendor/pdfjs.worker.js"}


@dataclass(frozen=True)
class Part:
    content: bytes
    type: str

    @functools.cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.content, mtime=0)

    @functools.cached_property
    def _hash(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:32]

    def etag(self, packed: bool) -> str:
        return f'"{self._hash}{"-gzip" if packed else ""}"'


class Parts:
    """`document`: the reference as HTML, given the folder of its files."""

    def __init__(self, document: Callable[[str], str]):
        self._document = document
        self._files: dict[str, Part] = {}

    @functools.cached_property
    def _names(self) -> dict[str, Path]:
        found = [
            *((path.name, path) for path in STATIC.iterdir()),
            *((f"vendor/{path.name}", path) for path in VENDOR.iterdir()),
        ]
        return {name: path for name, path in sorted(found) if path.suffix in TYPES}

    def file(self, name: str) -> Part | None:
        if name not in self._names or name.endswith(".html"):
            return None
        return self._read(name)

    def _read(self, name: str) -> Part:
        if name not in self._files:
            path = self._names[name]
            self._files[name] = Part(path.read_bytes(), TYPES[path.suffix])
        return self._files[name]

    @functools.cached_property
    def digest(self) -> str:
        """Of all files: modules import each other by name, so one that changes gives all of them a new folder."""
        whole = hashlib.sha256()
        for name in self._names:
            whole.update(name.encode() + b"\0" + self._read(name).content)
        return whole.hexdigest()[:16]

    @functools.cached_property
    def start(self) -> Part:
        """The modules are named, so that a browser asks for all of them at once and not one after another."""
        folder = f"web/{self.digest}/"
        wanted = [name for name in self._names if name.endswith(".js") and name not in SELDOM]
        named = "\n".join(f'<link rel="modulepreload" href="{folder}{name}">' for name in wanted)
        html = self._read("index.html").content.decode()
        return Part(html.replace('"web/', f'"{folder}').replace("<!-- modules -->", named).encode(), TYPES[".html"])

    @functools.cached_property
    def reference(self) -> Part:
        return Part(self._document(f"web/{self.digest}/").encode(), TYPES[".html"])
