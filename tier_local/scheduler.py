"""When NVFlare's server starts a job, and that a site which dies does not end a job that can do without it.

Named in the server's own kit (``kit``), not in a job.
"""

from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import SystemComponents
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import SERVER_SITE_NAME, Job
from nvflare.apis.utils.job_utils import get_event_job_id
from nvflare.app_common.job_schedulers.job_scheduler import DefaultJobScheduler
from nvflare.private.admin_defs import Message, MsgHeader, ReturnCode
from nvflare.private.fed.utils.fed_utils import extract_participants
from nvflare.private.scheduler_constants import ShareableHeader


class InnerJobScheduler(DefaultJobScheduler):  # type: ignore[misc] # NVFlare ships no types
    """NVFlare's scheduler, for jobs that can do without some of their sites."""

    def _check_client_resources(
        self, job: Job, resource_reqs: dict[str, dict[str, Any]], fl_ctx: FLContext
    ) -> dict[str, tuple[bool, str]]:
        """Ask the sites as NVFlare does, but no longer than it waits for them elsewhere; here it takes 15 s.

        A site that does not answer is left out of the job from its start.
        """
        engine = fl_ctx.get_engine()
        admin_server = engine.server.admin_server
        requests = {
            client.token: engine._make_message_for_check_resource(job, wanted, fl_ctx)
            for site, wanted in resource_reqs.items()
            if (client := engine.get_client_from_name(site)) is not None
        }
        replies = admin_server.send_requests(requests, fl_ctx, timeout_secs=admin_server.timeout)
        return {reply.client_name: _said(reply.reply) for reply in replies}

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """As soon as a job runs, stop counting its sites' ends, if fewer than all of them must answer.

        NVFlare would end a job whose process died at any one site.
        """
        super().handle_event(event_type, fl_ctx)
        if event_type != EventType.JOB_STARTED:
            return
        engine, job_id = fl_ctx.get_engine(), get_event_job_id(fl_ctx)
        job = engine.get_component(SystemComponents.JOB_MANAGER).get_job(job_id, fl_ctx)
        sites = {site for part in job.deploy_map.values() for site in extract_participants(part)}
        sites.discard(SERVER_SITE_NAME)
        if job.min_sites < len(sites):
            for site in sites:
                engine.job_runner.resolve_client_outcome(job_id, site)


def _said(reply: Message | None) -> tuple[bool, str]:
    """Whether the site has what is asked, and under which token it reserved that."""
    if reply is None:
        return False, "no answer"
    if reply.get_header(MsgHeader.RETURN_CODE, ReturnCode.OK) != ReturnCode.OK:
        return False, str(reply.body)
    return (
        bool(reply.body.get_header(ShareableHeader.IS_RESOURCE_ENOUGH, False)),
        str(reply.body.get_header(ShareableHeader.RESOURCE_RESERVE_TOKEN, "")),
    )
