"""When an inner job gives up, and when it tries again. Without NVFlare."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tier_local import simulator
from tier_local.errors import DeadlinePassed, JobFailed
from tier_local.exchange import JobFile, Outcome
from tier_local.job import JobRequest, run_job
from tier_local.network import Network, Site
from tier_local.simulator import SiteNotStarted, Watch

MakeWatch = Callable[[int], Watch]


class GuardedTree:
    """As much of a process tree as the watch looks at."""

    guarded = True


class RunningSimulator:
    """As much of the simulator's process as the watch looks at."""

    def poll(self) -> None:
        return None


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
        asked_unix_s=time.time(),
        deadline_unix_s=time.time() + 60,
        exit_with_parent=None,
        purpose="test",
    )


@pytest.fixture
def make_watch(tmp_path: Path) -> MakeWatch:
    files = {site: tmp_path / f"process-{site}" for site in ("one", "two")}
    return lambda least: Watch(least, files, RunningSimulator(), GuardedTree())  # type: ignore[arg-type]


def start_site(folder: Path, site: str, process: int) -> None:
    (folder / f"process-{site}").write_text(str(process))


def test_all_is_well_before_the_sites_start_and_while_they_live(
    make_watch: MakeWatch, tmp_path: Path
) -> None:
    watch = make_watch(2)
    assert watch.failure() is None
    start_site(tmp_path, "one", os.getpid())
    assert watch.failure() is None
    start_site(tmp_path, "two", os.getpid())
    assert watch.failure() is None


def test_a_dead_site_ends_the_job_that_needs_it(make_watch: MakeWatch, tmp_path: Path) -> None:
    start_site(tmp_path, "one", os.getpid())
    start_site(tmp_path, "two", 1 << 22)  # above the kernel's largest process id
    failure = make_watch(2).failure()
    assert str(failure) == "the process of site two died"
    assert not isinstance(failure, SiteNotStarted)
    assert make_watch(1).failure() is None


def test_a_site_that_does_not_come_is_another_kind_of_failure(
    make_watch: MakeWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "_SECONDS_BETWEEN_STARTS", 0.0)
    assert make_watch(2).failure() is None
    start_site(tmp_path, "two", os.getpid())
    failure = make_watch(2).failure()
    assert isinstance(failure, SiteNotStarted)
    assert "site one" in str(failure)
    assert make_watch(1).failure() is None


def test_a_site_that_did_not_start_is_tried_again(
    request_: JobRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[Exception | None] = [SiteNotStarted("port taken"), None]

    def attempt(_request: JobRequest) -> tuple[Outcome, bytes | None]:
        if (error := results.pop(0)) is not None:
            raise error
        return Outcome(records=3), b"adapter"

    monkeypatch.setattr(simulator, "_attempt", attempt)
    assert run_job(request_).outcome.records == 3
    results[:] = [SiteNotStarted("port taken")] * 3
    with pytest.raises(JobFailed, match="port taken"):
        run_job(request_)
    results[:] = [JobFailed("something else"), None]
    with pytest.raises(JobFailed, match="something else"):
        run_job(request_)


def test_the_time_for_answers_counts_from_the_asking(request_: JobRequest) -> None:
    assert request_.answer_by_unix_s is None
    patient = request_.network.model_copy(update={"least_sites": 1, "answer_seconds": 40.0})
    asked = replace(request_, network=patient, asked_unix_s=1000.0)
    assert asked.answer_by_unix_s == 1040.0
    assert replace(asked, deadline_unix_s=1020.0).answer_by_unix_s == 1020.0


def test_an_adapter_of_any_size_fits_into_a_job(request_: JobRequest, tmp_path: Path) -> None:
    """NVFlare refuses larger files than 10 MiB."""
    adapters = {"parent": bytes(range(256)) * 81920, "candidate": b"small"}
    folder = replace(request_, kind="evaluate", adapters=adapters).write_folder(tmp_path)
    config = folder / "server" / "config"
    job = JobFile.read(config / "job.json")
    assert {len(files) for files in job.adapters.values()} == {1, 3}
    for name, files in job.adapters.items():
        pieces = [(config / file).read_bytes() for file in files]
        assert max(map(len, pieces)) <= 10 << 20
        assert b"".join(pieces) == adapters[name]


def test_a_deadline_in_the_past_starts_nothing(request_: JobRequest) -> None:
    with pytest.raises(DeadlinePassed):
        run_job(replace(request_, deadline_unix_s=time.time() - 1))
    assert list(request_.out_folder.iterdir()) == []
