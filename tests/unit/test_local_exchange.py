"""What goes over the wire in an inner job."""

import numpy as np
import pytest
from nvflare.fuel.utils import fobs

from tier_local.errors import BadInput, ExitCode, JobFailed
from tier_local.exchange import OfferedFile, Reply, Sums, failure_in, failure_meta, reply_in, reply_meta
from tier_local.scoring import StratumSums

SUMS = StratumSums(np.array([1.5, np.inf, np.nan]), np.array([2, 0, 1]), np.array([1, 0, 0]))


def test_a_reply_survives_the_way() -> None:
    file = OfferedFile(holder="site-1.job", reference="R1")
    sent = Reply(
        adapter=file, records=3, first_loss_nats=0.1, last_loss_nats=None, sums={"all": Sums.of(SUMS)}
    )
    back = reply_in(fobs.loads(fobs.dumps(reply_meta(sent))))
    assert (back.adapter, back.records, back.first_loss_nats, back.last_loss_nats) == (file, 3, 0.1, None)
    sums = back.sums["all"].as_arrays(strata=3)
    np.testing.assert_array_equal(sums.loss_sums, SUMS.loss_sums)
    np.testing.assert_array_equal(sums.record_counts, SUMS.record_counts)
    np.testing.assert_array_equal(sums.correct_counts, SUMS.correct_counts)


def test_sums_of_other_strata_are_refused() -> None:
    with pytest.raises(JobFailed, match="2 strata"):
        Sums.of(SUMS).as_arrays(strata=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"reply": None},
        {"reply": {"records": -1}},
        {"reply": {"records": 2**80}},
        {"reply": {"records": 1.5}},
        {"reply": {"adapter": "R1"}},
        {"reply": {"sums": {"all": {"loss_sums_nats": ["x"], "records": [1], "correct": [1]}}}},
        {"reply": {"more": 1}},
    ],
)
def test_what_is_no_reply_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(JobFailed, match="not a reply"):
        reply_in(wrong)


def test_an_error_survives_the_way() -> None:
    assert failure_in(failure_meta(BadInput("line 3"))) == (ExitCode.BAD_INPUT, "line 3")
    assert failure_in({}) is None
