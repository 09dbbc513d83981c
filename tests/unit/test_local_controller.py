"""Which answers the network's server folds, and how a job ends for which there are too few."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from contracts.digests import ZERO_DIGEST
from tier_local.answers import SiteAnswer
from tier_local.controller import InnerRoundController, _usable
from tier_local.errors import BadInput, InnerRoundError, JobFailed, Refused, RefusedBySite
from tier_local.exchange import OUTCOME_FILE, JobFile, Outcome, failure_meta
from tier_local.rules import Rule

ANSWER = SiteAnswer(meta={})
REFUSAL = SiteAnswer(failure_meta(Refused(Rule.HOURS, "it is 17:03")))


def make_job(least_sites: int) -> JobFile:
    return JobFile(
        kind="train",
        spec_file="spec.json",
        parent_digest=ZERO_DIGEST,
        sites=("one", "two", "three"),
        least_sites=least_sites,
        answer_by_unix_s=None,
        adapters={},
    )


def test_a_site_that_refuses_is_left_out_when_enough_others_answer() -> None:
    usable = _usable(make_job(1), {"one": ANSWER, "two": REFUSAL})
    assert usable.answers == {"one": ANSWER}
    assert usable.left_out == {"two": "failed", "three": "no answer"}


def test_with_too_few_answers_the_refusal_is_the_reason() -> None:
    with pytest.raises(RefusedBySite) as caught:
        _usable(make_job(2), {"one": ANSWER, "two": REFUSAL})
    assert (caught.value.site, caught.value.rule) == ("two", Rule.HOURS)
    assert "17:03" not in str(caught.value)


@pytest.mark.parametrize("error", [BadInput("line 3"), JobFailed("no memory")])
def test_the_first_site_by_name_says_why(error: InnerRoundError) -> None:
    with pytest.raises(type(error), match=f"site one: {error}"):
        _usable(make_job(3), {"one": SiteAnswer(failure_meta(error)), "two": REFUSAL, "three": ANSWER})


def test_a_server_without_room_ends_the_job_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not without an outcome, for which the node would ask again."""
    folders = SimpleNamespace(get_app_dir=lambda _: tmp_path, get_run_dir=lambda _: tmp_path)
    controller = InnerRoundController()
    controller.engine = SimpleNamespace(get_workspace=lambda: folders)
    controller.fl_ctx = SimpleNamespace(get_job_id=lambda: "job")
    (tmp_path / "config").mkdir()
    make_job(1).write(tmp_path / "config" / "job.json")

    def full(*_: object) -> Outcome:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(controller, "_ask_and_fold", full)
    controller.run()
    outcome = Outcome.read(tmp_path / OUTCOME_FILE)
    assert (outcome.failure, outcome.exit_code) == (
        "the network's server: No space left on device",
        JobFailed.exit_code,
    )
