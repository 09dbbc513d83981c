"""How a server and a site start the processes of a job: as NVFlare does, but by ``job_process``.

Named in the holder's own kit (``kit``), not in a job.
"""

from typing import Any

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobProcessArgs
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.server_process_launcher import ServerProcessJobLauncher

_MODULE = "tier_local.job_process"


class ServerJobLauncher(ServerProcessJobLauncher):  # type: ignore[misc] # NVFlare ships no types
    """Starts the server's process of a job."""

    def get_command(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> str:
        """The command line."""
        _name_module(fl_ctx, "server")
        return str(super().get_command(job_meta, fl_ctx))


class SiteJobLauncher(ClientProcessJobLauncher):  # type: ignore[misc] # NVFlare ships no types
    """Starts a site's process of a job."""

    def get_command(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> str:
        """The command line."""
        _name_module(fl_ctx, "site")
        return str(super().get_command(job_meta, fl_ctx))


def _name_module(fl_ctx: FLContext, role: str) -> None:
    """NVFlare's own command, with another module in it."""
    arguments = fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS)
    arguments[JobProcessArgs.EXE_MODULE] = ("-m", f"{_MODULE} {role}")
