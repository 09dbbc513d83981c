"""The command line ``python -m tier_local``: arguments, signals, exit codes."""

import argparse
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tier_local import commands
from tier_local.errors import BadInput, ExitCode, InnerRoundError, Refused, RefusedBySite
from tier_local.exchange import PARENT
from tier_local.report import RefusalReport

DEFAULT_JOB_SECONDS = 3600.0
"""How long an inner job may take when no deadline is given."""

_ADAPTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_PURPOSE = re.compile(r"[A-Za-z0-9._:\-]{1,96}")


class _Stopped(BaseException):
    """SIGTERM or SIGHUP came; not an Exception, so that nothing on the way mistakes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code (``errors.ExitCode``)."""
    options = _parser().parse_args(arguments)
    for signal_number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(signal_number, _stop)
    try:
        options.run(options)
    except (Refused, RefusedBySite) as error:
        _write_refusal(options.out, error)
        sys.stderr.write(f"tier_local: {error}\n")
        return error.exit_code
    except InnerRoundError as error:
        sys.stderr.write(f"tier_local: {error}\n")
        return error.exit_code
    except _Stopped as stopped:
        # All is cleaned up; now end as the signal would have ended us, so that the caller sees it.
        signal.signal(stopped.signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), stopped.signal_number)
    return ExitCode.DONE


def _write_refusal(out_folder: Path, refusal: Refused | RefusedBySite) -> None:
    """For the caller; whether or not it can be written, the exit code says that it was a refusal."""
    site = refusal.site if isinstance(refusal, RefusedBySite) else None
    with suppress(OSError):
        out_folder.mkdir(parents=True, exist_ok=True)
        RefusalReport(rule=refusal.rule.value, site=site).write(out_folder)


def _stop(signal_number: int, _frame: FrameType | None) -> None:
    # Once: a second signal must not break the cleaning up.
    for ignored in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    raise _Stopped(signal_number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tier_local", description="One inner round of a hospital network.", allow_abbrev=False
    )
    commands_ = parser.add_subparsers(required=True, metavar="COMMAND")

    genesis = commands_.add_parser("genesis", help="complete a draft: task.json and the first adapter")
    genesis.add_argument("--draft", type=Path, required=True)
    genesis.add_argument("--model-cache", type=Path, required=True)
    genesis.set_defaults(run=_genesis)

    train = commands_.add_parser("train", help="train the next adapter at the network's hospitals")
    _add_job_arguments(train)
    train.set_defaults(run=_train)

    evaluate = commands_.add_parser("evaluate", help="measure adapters on the hospitals' held-out records")
    _add_job_arguments(evaluate)
    evaluate.add_argument("--candidate", action="append", required=True, metavar="NAME=FILE")
    evaluate.set_defaults(run=_evaluate)

    test = commands_.add_parser("test", help="measure adapters on public test records")
    test.add_argument("--spec", type=Path, required=True)
    test.add_argument("--records", type=Path, required=True)
    test.add_argument("--adapter", action="append", default=[], metavar="NAME=FILE")
    test.add_argument("--base", metavar="NAME", help="measure the base model too, under this name")
    test.add_argument("--model-cache", type=Path, required=True)
    test.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    test.set_defaults(run=_test)

    export = commands_.add_parser("export", help="write an adapter as a PEFT folder")
    export.add_argument("--spec", type=Path, required=True)
    export.add_argument("--adapter", type=Path, required=True)
    export.add_argument("--model-cache", type=Path, required=True)
    export.set_defaults(run=_export)

    policy = commands_.add_parser("network-policy", help="write what the network approves for its hospitals")
    policy.add_argument("--network", type=Path, required=True)
    policy.set_defaults(run=_network_policy)

    for command in (genesis, train, evaluate, test, export, policy):
        command.add_argument("--out", type=Path, required=True)
    return parser


def _add_job_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--spec", type=Path, required=True)
    command.add_argument("--network", type=Path, required=True)
    command.add_argument("--parent", type=Path, required=True)
    command.add_argument("--deadline-unix-s", type=float, default=None)
    command.add_argument(
        "--policy-digest", metavar="DIGEST", help="the network's policy as it approved the task on chain"
    )
    command.add_argument(
        "--purpose",
        help="what the job is for, in a word; asked again for the same, a deployed federation does it once",
    )
    command.add_argument(
        "--exit-with-parent", type=int, metavar="PID", help="end when the process PID, which calls this, dies"
    )


def _job_options(options: argparse.Namespace) -> commands.JobOptions:
    purpose = secrets.token_hex(16) if options.purpose is None else options.purpose
    if _PURPOSE.fullmatch(purpose) is None:
        raise BadInput(f"--purpose {purpose!r}: at most 96 letters, digits, '.', '_', ':' and '-'")
    asked_unix_s, deadline_unix_s = time.time(), options.deadline_unix_s
    return commands.JobOptions(
        spec_file=options.spec,
        network_file=options.network,
        parent_file=options.parent,
        out_folder=options.out.resolve(),
        asked_unix_s=asked_unix_s,
        deadline_unix_s=asked_unix_s + DEFAULT_JOB_SECONDS if deadline_unix_s is None else deadline_unix_s,
        exit_with_parent=options.exit_with_parent,
        policy_digest=options.policy_digest,
        purpose=purpose,
    )


def _named_files(pairs: Sequence[str], option: str, taken: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for pair in pairs:
        name, separator, file = pair.partition("=")
        if not separator or not file or _ADAPTER_NAME.fullmatch(name) is None:
            raise BadInput(
                f"{option} {pair!r}: NAME=FILE is needed, NAME of letters, digits, '.', '_' and '-'"
            )
        if name in files or name in taken:
            raise BadInput(f"{option} {pair!r}: the name {name!r} is taken")
        files[name] = Path(file)
    return files


def _genesis(options: argparse.Namespace) -> None:
    commands.genesis(options.draft, options.model_cache, options.out)


def _train(options: argparse.Namespace) -> None:
    commands.train(_job_options(options))


def _evaluate(options: argparse.Namespace) -> None:
    commands.evaluate(_job_options(options), _named_files(options.candidate, "--candidate", taken=[PARENT]))


def _test(options: argparse.Namespace) -> None:
    base_names = [] if options.base is None else [options.base]
    adapters = _named_files(options.adapter, "--adapter", taken=base_names)
    if not adapters and not base_names:
        raise BadInput("nothing to test: give --adapter NAME=FILE or --base NAME")
    if options.threads < 1:
        raise BadInput("--threads: at least 1")
    commands.test(
        options.spec,
        options.records,
        adapters,
        options.base,
        options.model_cache,
        options.threads,
        options.out,
    )


def _network_policy(options: argparse.Namespace) -> None:
    commands.network_policy(options.network, options.out)


def _export(options: argparse.Namespace) -> None:
    commands.export(options.spec, options.adapter, options.model_cache, options.out)
