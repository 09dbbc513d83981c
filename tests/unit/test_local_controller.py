"""Which answers the network's server folds, and how a job ends for which there are too few."""

import pytest

from contracts.digests import ZERO_DIGEST
from tier_local.answers import SiteAnswer
from tier_local.controller import _usable
from tier_local.errors import BadInput, InnerRoundError, JobFailed, Refused, RefusedBySite
from tier_local.exchange import JobFile, failure_meta
from tier_local.rules import Rule

ANSWER = SiteAnswer(meta={})
REFUSAL = SiteAnswer.failed(failure_meta(Refused(Rule.HOURS, "it is 17:03")))


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
        _usable(make_job(3), {"one": SiteAnswer.failed(failure_meta(error)), "two": REFUSAL, "three": ANSWER})
