"""A session with a federation's server with an admin's kit; NVFlare's errors become ours."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from tier_local.errors import BadInput, JobFailed
from tier_local.kit import Kit, Role

CONNECT_SECONDS = 10.0


@contextlib.contextmanager
def admin_session(kit: Kit, connect_seconds: float = CONNECT_SECONDS) -> Iterator[Any]:
    """NVFlare's session with the server that the kit names.

    Raises:
        BadInput: it is not an admin's kit.
        JobFailed: the server does not answer, or refuses; so do all calls of the session.
    """
    # Late: the import takes a second, and bad input is reported without it.
    from nvflare.fuel.flare_api import api_spec
    from nvflare.fuel.flare_api.flare_api import new_secure_session

    if kit.role is not Role.ADMIN:
        raise BadInput(f"{kit.folder} is the kit of a {kit.role}, not of an admin")
    host, port = kit.server_address()
    try:
        session = new_secure_session(kit.name, str(kit.folder), timeout=connect_seconds)
        try:
            yield session
        finally:
            session.close()
    except (api_spec.NoConnection, api_spec.SessionClosed) as error:
        raise JobFailed(f"the federation's server at {host}:{port} does not answer: {error}") from error
    except (api_spec.AuthenticationError, api_spec.AuthorizationError) as error:
        raise JobFailed(f"the federation's server at {host}:{port} refuses: {error}") from error
    except (
        api_spec.InternalError,
        api_spec.InvalidJobDefinition,
        api_spec.SubmitTokenConflict,
        api_spec.SubmitTokenJobDeleted,
        api_spec.JobNotFound,
    ) as error:
        raise JobFailed(f"the federation's server at {host}:{port}: {error}") from error


def connected_sites(kit: Kit) -> tuple[str, ...]:
    """The names of the sites that are connected with the server now; errors as ``admin_session``."""
    # NVFlare prints while it connects.
    with contextlib.redirect_stdout(io.StringIO()), admin_session(kit) as session:
        return tuple(sorted(str(client.name) for client in session.get_connected_client_list()))
