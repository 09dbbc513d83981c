"""Runs one of the project's own commands to its end, with a deadline and its output in a log."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.local.hosts import THIS_MACHINE, Host
from deploy.local.supervisor import LauncherError, tail


class Commands:
    """Commands of one run: each has a log named after it."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        self._environment = dict(environment)

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        host: Host = THIS_MACHINE,
        secret_output: bool = False,
    ) -> str:
        """Run to the end; give its standard output, which is not logged when it is secret.

        Raises:
            LauncherError: it failed or took too long; the message shows the end of its log.
        """
        log_file = self._log_folder / f"{name}.log"
        with log_file.open("ab") as log:
            try:
                done = subprocess.run(
                    host.command(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=self._environment | dict(environment or {}),
                    timeout=timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise LauncherError(f"{name} took more than {timeout_s:.0f} s") from error
            if not secret_output:
                log.write(done.stdout)
        if done.returncode != 0:
            raise LauncherError(
                f"{name} ended with exit code {done.returncode}; the end of {log_file}:\n{tail(log_file)}"
            )
        return done.stdout.decode()

    def run_json(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        host: Host = THIS_MACHINE,
        secret_output: bool = False,
    ) -> Any:
        """As ``run``, for a command that prints one JSON value."""
        said = self.run(
            name,
            command,
            timeout_s=timeout_s,
            environment=environment,
            host=host,
            secret_output=secret_output,
        )
        return json.loads(said)
