"""Turns views into HTML: the Jinja environment, with our filters and the addresses of static files.

A static file's address carries the hash of its content, so that a browser may keep it for ever and still
gets a changed one at once.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestrator.dashboard import text

FOLDER = Path(__file__).parent
STATIC_FOLDER = FOLDER / "static"
MODULES_FOLDER = FOLDER / "node_modules"

VENDOR_FILES = {
    "tabler.css": "@tabler/core/dist/css/tabler.min.css",
    "htmx.js": "htmx.org/dist/htmx.min.js",
    "sse.js": "htmx-ext-sse/dist/sse.min.js",
    "idiomorph.js": "idiomorph/dist/idiomorph.min.js",
    "idiomorph-htmx.js": "idiomorph/dist/idiomorph-htmx.js",
    "echarts.js": "echarts/dist/echarts.min.js",
}
"""The browser libraries that the pages load, by the name they are served under, from ``npm ci``'s folder."""


def vendor_path(name: str) -> Path:
    """Where npm put a browser library."""
    return MODULES_FOLDER / VENDOR_FILES[name]


def missing_vendor_files() -> tuple[str, ...]:
    """The browser libraries that are not installed; ``npm ci`` in this folder installs them."""
    return tuple(name for name in VENDOR_FILES if not vendor_path(name).is_file())


@cache
def _version(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "missing"


def _asset(name: str) -> str:
    return f"/static/{name}?v={_version(STATIC_FOLDER / name)}"


def _vendor(name: str) -> str:
    return f"/static/vendor/{name}?v={_version(vendor_path(name))}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(text.FILTERS)
    environment.globals.update(asset=_asset, vendor=_vendor)
    return environment


def render(template: str, **values: object) -> str:
    """A template's HTML. Pages need ``signed_in_as`` (a token's name, or None); panels need ``panel``."""
    return _environment().get_template(template).render(values)
