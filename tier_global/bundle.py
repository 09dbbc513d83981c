"""The app bundle of a round, by its SHA-256: a node answers only where its operator allows the run's bundle.

A bundle is what ``flwr run`` sends with a run. Ours holds nothing but a ``pyproject.toml`` that names
installed modules; Flower builds the same bytes from the same file on any machine.
"""

from collections.abc import Collection
from pathlib import Path

from contracts.digests import sha256_digest
from tier_global.errors import BundleRefused

APP_FOLDER = Path(__file__).parent / "app"


def installed_bundle(folder: Path = APP_FOLDER) -> str:
    """The digest of the bundle that ``flwr run`` makes of the installed app folder."""
    from flwr.cli.build import build_fab_from_disk

    return sha256_digest(build_fab_from_disk(folder))


def require_allowed(bundle: bytes, allowed: Collection[str]) -> None:
    """Refuse a bundle whose digest is not among the allowed ones. Raises BundleRefused."""
    digest = sha256_digest(bundle)
    if digest not in allowed:
        raise BundleRefused(digest, allowed)
