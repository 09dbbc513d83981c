"""What a hub refuses to start with in production: plain http, weak secrets, files that others can read."""

import stat
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.settings import Settings

_LEAST_SECRET_LENGTH = 32
_LEAST_PASSWORD_LENGTH = 16
_LEAST_DIFFERENT = 10
"""Characters that 32 random ones, of hex digits too, hardly ever have fewer of."""
_LEAST_DIFFERENT_OF_PASSWORD = 6


def weaknesses(settings: Settings) -> tuple[str, ...]:
    """Every reason not to start, as a sentence that names the setting; none in development mode."""
    if settings.mode == "development":
        return ()
    return (*_addresses(settings), *_secrets(settings), *_files(settings))


def _addresses(settings: Settings) -> list[str]:
    found = []
    if settings.public_url is None or urlsplit(settings.public_url).scheme != "https":
        found.append("COLLEGIUM_PUBLIC_URL must be the https address by which the hub is reached")
    if settings.oidc_issuer is not None and urlsplit(settings.oidc_issuer).scheme != "https":
        found.append("COLLEGIUM_OIDC_ISSUER must be https")
    return found


def _secrets(settings: Settings) -> list[str]:
    named = {"COLLEGIUM_WEBHOOK_KEY_FILE": settings.webhook_key_file}
    if settings.oidc_issuer is not None:
        named["COLLEGIUM_OIDC_CLIENT_SECRET_FILE"] = settings.oidc_client_secret_file
    found = [
        f"{name} must hold {_LEAST_SECRET_LENGTH} random characters"
        for name, file in named.items()
        if file is not None and _is_weak(file)
    ]
    try:
        password = make_url(settings.database_url).password
    except ArgumentError:
        return [*found, "COLLEGIUM_DATABASE_URL is no address of a database"]
    if password is not None and (
        len(password) < _LEAST_PASSWORD_LENGTH or len(set(password)) < _LEAST_DIFFERENT_OF_PASSWORD
    ):
        found.append(
            f"COLLEGIUM_DATABASE_URL's password must have {_LEAST_PASSWORD_LENGTH} random characters or more"
        )
    return found


def _is_weak(file: Path) -> bool:
    try:
        secret = file.read_bytes().strip()
    except OSError:
        secret = b""
    return len(secret) < _LEAST_SECRET_LENGTH or len(set(secret)) < _LEAST_DIFFERENT


def _files(settings: Settings) -> list[str]:
    named = {
        "COLLEGIUM_RELAYER_KEY_FILE": settings.relayer_key_file,
        "COLLEGIUM_COUNCIL_KEY_FILE": settings.council_key_file,
        "COLLEGIUM_OIDC_CLIENT_SECRET_FILE": settings.oidc_client_secret_file,
        "COLLEGIUM_WEBHOOK_KEY_FILE": settings.webhook_key_file,
    }
    found = [
        f"{name}: {file} can be read by others; run chmod 600 on it"
        for name, file in named.items()
        if file is not None and _others_read(file)
    ]
    if settings.token_folder.is_dir():
        found += [
            f"COLLEGIUM_TOKEN_FOLDER: {file} can be read by others; run chmod 600 on it"
            for file in sorted(settings.token_folder.iterdir())
            if file.is_file() and _others_read(file)
        ]
    return found


def _others_read(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False
