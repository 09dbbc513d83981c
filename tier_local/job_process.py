"""One job's process at the server or at a site: ``python -m tier_local.job_process server|site …``.

It is NVFlare's own, without what costs every round seconds: NVFlare's sleeps for three at its end, when all
is sent and closed, and a site's would load torch and the rest only when its task is there. Here a site does
that while it connects.
"""

import argparse
import gc
import os
import sys
import threading
from contextlib import suppress

from nvflare.fuel.f3.mpm import MainProcessMonitor

from tier_local.errors import InnerRoundError
from tier_local.exchange import site_file_of
from tier_local.policy import read_policy
from tier_local.resources import hide_gpus


def main() -> int:
    """Run the process to its end; NVFlare's exit code."""
    role = sys.argv.pop(1)
    if role == "site":
        from nvflare.private.fed.app.client import worker_process as process

        # All that NVFlare's thread imports too is there before the other thread begins.
        import tier_local.executor  # noqa: F401

        _begin_to_load(_site_name())
    else:
        # At a job's end NVFlare looks after torch's downloads, of which there are none, and would load torch.
        sys.modules["torch"] = None  # type: ignore[assignment]
        from nvflare.private.fed.app.server import runner_process as process

        _collect_often()
    arguments = process.parse_arguments()
    run_folder = os.path.join(arguments.workspace, arguments.job_id)
    code = MainProcessMonitor.run(
        main_func=process.main, run_dir=run_folder, shutdown_grace_time=0, args=arguments
    )
    return int(code or 0)


def _collect_often() -> None:
    """Have what NVFlare leaves behind of a message found soon.

    A message that was sent and its future refer to each other, and so stay, with a piece of an adapter, until
    the collector looks at everything. What is imported by now it need not look at.
    """
    gc.freeze()
    # It looks at everything when that has grown by a quarter; from here on it counts without what is frozen.
    gc.collect()
    gc.set_threshold(300, 2, 2)


def _site_name() -> str:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", required=True)
    name: str = parser.parse_known_args()[0].c
    return name


def _begin_to_load(site: str) -> None:
    """Load what training needs, in a thread; where no policy permits to train, nothing will be trained."""
    with suppress(InnerRoundError):
        own = site_file_of(site)
        if own.policy_file is not None:
            # Before anything can look for one.
            hide_gpus(read_policy(own.policy_file).resources)
        elif not own.is_embedded:
            return
        threading.Thread(target=_load_learner, name="load-learner").start()


def _load_learner() -> None:
    from tier_local.imports import without_collecting

    with without_collecting():
        import tier_local.learner  # noqa: F401 # the trainer imports it again


if __name__ == "__main__":
    sys.exit(main())
