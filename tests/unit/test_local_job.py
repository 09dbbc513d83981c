"""When an inner job gives up, and when it tries again. Without NVFlare."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tier_local import job
from tier_local.errors import DeadlinePassed, JobFailed
from tier_local.exchange import JobFile, Outcome
from tier_local.job import JobRequest, run_job
from tier_local.network import Network, Site


class GuardedTree:
    """As much of a process tree as the watch looks at."""

    guarded = True


@pytest.fixture
def request_(tmp_path: Path) -> JobRequest:
    sites = tuple(Site(name=name, data_folder=tmp_path) for name in ("one", "two"))
    return JobRequest(
        kind="train",
        spec=b"",
        parent_digest="0x" + "00" * 32,
        adapters={},
        network=Network(name="aurora", sites=sites, model_cache=tmp_path),
        out_folder=tmp_path,
        deadline_unix_s=time.time() + 60,
        exit_with_parent=None,
    )


@pytest.fixture
def watch(tmp_path: Path) -> job._Watch:
    file = tmp_path / "x"
    described = JobFile(
        kind="train", spec_file=file, sites=("one", "two"), adapters={}, outcome_file=file, adapter_file=file
    )
    return job._Watch(threading.current_thread(), [], described, tmp_path, GuardedTree())  # type: ignore[arg-type]


def start_site(folder: Path, site: str, process: int) -> None:
    (folder / f"process-{site}").write_text(str(process))


def test_all_is_well_before_the_sites_start_and_while_they_live(watch: job._Watch, tmp_path: Path) -> None:
    assert watch.failure() is None
    start_site(tmp_path, "one", os.getpid())
    assert watch.failure() is None
    start_site(tmp_path, "two", os.getpid())
    assert watch.failure() is None


def test_a_dead_site_ends_the_job(watch: job._Watch, tmp_path: Path) -> None:
    start_site(tmp_path, "one", os.getpid())
    start_site(tmp_path, "two", 1 << 22)  # above the kernel's largest process id
    failure = watch.failure()
    assert str(failure) == "the process of site two died"
    assert not isinstance(failure, job._SiteNotStarted)


def test_a_site_that_does_not_come_is_another_kind_of_failure(
    watch: job._Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_SECONDS_BETWEEN_STARTS", 0.0)
    assert watch.failure() is None
    start_site(tmp_path, "two", os.getpid())
    failure = watch.failure()
    assert isinstance(failure, job._SiteNotStarted)
    assert "site one" in str(failure)


def test_a_site_that_did_not_start_is_tried_again(
    request_: JobRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[Exception | None] = [job._SiteNotStarted("port taken"), None]

    def attempt(_request: JobRequest) -> tuple[Outcome, bytes | None]:
        if (error := results.pop(0)) is not None:
            raise error
        return Outcome(records=3), b"adapter"

    monkeypatch.setattr(job, "_attempt", attempt)
    assert run_job(request_).outcome.records == 3
    results[:] = [job._SiteNotStarted("port taken")] * 3
    with pytest.raises(JobFailed, match="port taken"):
        run_job(request_)
    results[:] = [JobFailed("something else"), None]
    with pytest.raises(JobFailed, match="something else"):
        run_job(request_)


def test_a_deadline_in_the_past_starts_nothing(request_: JobRequest) -> None:
    with pytest.raises(DeadlinePassed):
        run_job(replace(request_, deadline_unix_s=time.time() - 1))
    assert list(request_.out_folder.iterdir()) == []
