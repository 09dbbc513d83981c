"""A site that answers with a prepared adapter: no model, no records, but all the rest as it is.

``Launcher`` stands in the kits of a benchmark's sites; it starts this module in place of
``tier_local.job_process``, which it runs with another trainer.
"""

import sys
from typing import Any

import numpy as np
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from tier_local import job_process, trainer
from tier_local.exchange import PARENT, SiteFile, pack_adapters, unpack_adapters
from tier_local.launchers import SiteJobLauncher

_MODULE = "tests.bench._prepared_site"


class Launcher(SiteJobLauncher):
    """Starts a site's process of a job."""

    def get_command(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> str:
        """The command line."""
        return str(super().get_command(job_meta, fl_ctx)).replace("tier_local.job_process", _MODULE)


def _answer(site: SiteFile, task: FLModel) -> FLModel:
    """The parent's shapes with numbers of the site's own."""
    random = np.random.default_rng(sum(site.site.encode()))
    parent = unpack_adapters(task.params)[PARENT]
    adapter = {
        name: random.standard_normal(tensor.shape, dtype=np.float32) for name, tensor in parent.items()
    }
    metrics = {"records": 1, "first": 1.0, "last": 1.0}
    return FLModel(params=pack_adapters({PARENT: adapter}), params_type=ParamsType.FULL, metrics=metrics)


if __name__ == "__main__":
    trainer.answer = _answer
    job_process._begin_to_load = lambda _site: None
    sys.exit(job_process.main())
