"""``python -m deploy.local``: run the main job on this machine and stop everything again."""

import argparse
import fcntl
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from deploy.local.layout import Layout
from deploy.local.main_job import MainJob, Options
from deploy.local.profile import PROFILES, Inner
from deploy.local.report import show
from deploy.local.supervisor import LauncherError
from tier_local.processes import ProcessTree

GRACE_S = 5.0
EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


class Stopped(BaseException):
    """The launcher was told to stop."""


def main() -> int:
    """Parse the command line, run, report; see ``--help``."""
    arguments = _arguments()
    console = Console(highlight=False)
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, _raise_stopped)
    try:
        with _own(arguments.folder) as layout, ProcessTree.guard(grace_seconds=GRACE_S) as tree:
            tree.mark_children()
            return _run(arguments, layout, console)
    except LauncherError as error:
        console.print(f"[red]failed:[/red] {error}", markup=True, soft_wrap=True)
        return EXIT_FAILED
    except Stopped:
        console.print("stopped; nothing is left running")
        return EXIT_FAILED


def _run(arguments: argparse.Namespace, layout: Layout, console: Console) -> int:
    options = Options(
        seed=arguments.seed,
        inner=Inner(arguments.inner),
        poisoned=arguments.poison,
        baselines=arguments.baselines,
        model_cache=arguments.model_cache.resolve(),
    )
    job = MainJob(PROFILES[arguments.profile], layout, options, console)
    try:
        report = job.run()
        show(report, console)
        job.say_what_to_do_next(report)
        if arguments.keep:
            job.say_where_the_dashboard_is()
            console.print("everything stays up for looking around; Ctrl-C stops it")
            job.stay()
    finally:
        job.stop()
    return EXIT_DONE if report.verified else EXIT_FAILED


@contextmanager
def _own(folder: Path) -> Iterator[Layout]:
    """An empty run folder that no other launcher uses meanwhile; what an earlier run left is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LauncherError(f"another run uses {folder}; stop it or choose another folder") from None
        layout = Layout(folder.resolve())
        if folder.exists() and not _is_run_folder(layout):
            raise LauncherError(
                f"{folder} was not made by this launcher, and a run replaces its folder: remove it yourself, "
                "or choose another folder"
            )
        shutil.rmtree(folder, ignore_errors=True)
        layout.make()
        yield layout


def _is_run_folder(layout: Layout) -> bool:
    return layout.marker.is_file() or not any(layout.folder.iterdir())


def _raise_stopped(signal_number: int, frame: FrameType | None) -> None:
    raise Stopped


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description="Run three federated rounds of four hospital networks on this machine.",
    )
    parser.add_argument("--folder", type=Path, default=Path("var/demo"), help="where everything is kept")
    parser.add_argument("--model-cache", type=Path, default=Path("var/models"), help="converted base models")
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default="demo", help="real or tiny model and data"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the split of the data")
    parser.add_argument(
        "--inner",
        choices=[str(inner) for inner in Inner],
        default=str(Inner.SIMULATOR),
        help="run inner rounds in NVFlare's simulator, or in federations that are deployed for the run",
    )
    parser.add_argument("--poison", action="store_true", help="one network attacks")
    parser.add_argument("--baselines", action="store_true", help="also train every network alone")
    parser.add_argument("--keep", action="store_true", help="leave everything up at the end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
