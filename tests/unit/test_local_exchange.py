"""What goes over the wire in an inner job."""

import numpy as np
import pytest

from tier_local.errors import BadInput, ExitCode, JobFailed
from tier_local.exchange import (
    failure_in,
    failure_meta,
    pack_adapters,
    pack_sums,
    unpack_adapters,
    unpack_sums,
)
from tier_local.scoring import StratumSums


def test_adapters_survive_the_way() -> None:
    adapters = {"parent": {"a.b": np.ones(2, np.float32)}, "without-0": {"a.b": np.zeros(2, np.float32)}}
    back = unpack_adapters(pack_adapters(adapters))
    assert back.keys() == adapters.keys()
    for name, tensors in adapters.items():
        assert back[name].keys() == tensors.keys()
        np.testing.assert_array_equal(back[name]["a.b"], tensors["a.b"])


def test_sums_survive_the_way_and_wrong_ones_are_refused() -> None:
    sent = StratumSums(np.array([1.5, 0.0]), np.array([2, 0]), np.array([1, 0]))
    payload = pack_sums({"all": sent})
    back = unpack_sums(payload, strata=2)["all"]
    np.testing.assert_array_equal(back.loss_sums, sent.loss_sums)
    np.testing.assert_array_equal(back.record_counts, sent.record_counts)
    with pytest.raises(JobFailed, match=r"all\|"):
        unpack_sums(payload, strata=3)
    with pytest.raises(JobFailed, match="records"):
        unpack_sums(payload | {"all|records": np.array([2.0, 0.0])}, strata=2)


def test_an_error_survives_the_way() -> None:
    assert failure_in(failure_meta(BadInput("line 3"))) == (ExitCode.BAD_INPUT, "line 3")
    assert failure_in({}) is None
