"""A site that answers with a prepared adapter: no model, no records, but all the rest as it is.

``Launcher`` stands in the kits of a benchmark's sites; it starts this module in place of
``tier_local.job_process``, which it runs with another trainer.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from nvflare.apis.fl_context import FLContext

from contracts.task import TaskSpec
from tier_local import job_process, trainer
from tier_local.exchange import PARENT, Meta, Reply, SiteFile, assignment_in, reply_meta
from tier_local.launchers import SiteJobLauncher
from tier_local.transfers import Wire, fetch_adapter, offer_adapter

_MODULE = "tests.bench._prepared_site"


class Launcher(SiteJobLauncher):
    """Starts a site's process of a job."""

    def get_command(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> str:
        """The command line."""
        return str(super().get_command(job_meta, fl_ctx)).replace("tier_local.job_process", _MODULE)


def _answer(site: SiteFile, task: Mapping[str, Any], wire: Wire) -> Meta:
    """The parent's shapes with numbers of the site's own."""
    assignment = assignment_in(task)
    manifest = TaskSpec.parse(assignment.spec.encode()).manifest
    random = np.random.default_rng(sum(site.site.encode()))
    adapter = {
        name: random.standard_normal(tensor.shape, dtype=np.float32)
        for name, tensor in fetch_adapter(wire, manifest, assignment.adapters[PARENT]).items()
    }
    offered = offer_adapter(wire, manifest, adapter, site.progress_file.parent)
    return reply_meta(Reply(adapter=offered, records=1, first_loss_nats=1.0, last_loss_nats=1.0))


if __name__ == "__main__":
    trainer.answer = _answer
    job_process._begin_to_load = lambda _site: None
    sys.exit(job_process.main())
