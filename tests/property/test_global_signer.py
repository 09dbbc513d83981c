"""Whatever bytes come, the signer signs one message of each kind at most, and none of another round."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.messages import Proposal
from contracts.phase import Phase
from tests.unit.global_sim import DOMAIN, ROUND, TASK, Sim, SimRound
from tier_global.chain_view import RoundOnChain
from tier_global.signer_rules import RuledSigner, SignedRecord
from tier_global.signer_socket import answer
from tier_global.signing import KeySigner

DIGESTS = st.sampled_from(["0x" + f"{number:02x}" * 32 for number in range(3)])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class OneRound(SimRound):
    """The simulated chain, which has no other round."""

    def __init__(self, chain: SimRound) -> None:
        self.__dict__ = chain.__dict__

    def round(self, task: int, round_number: int) -> RoundOnChain:
        facts = super().round(TASK, ROUND)
        return facts if (task, round_number) == (TASK, ROUND) else replace(facts, phase=Phase.NONE)


@settings(max_examples=60, deadline=None)
@given(
    questions=st.lists(
        st.one_of(
            st.binary(max_size=200),
            JSON.map(lambda value: json.dumps(value).encode()),
            st.fixed_dictionaries(
                {
                    "ask": st.sampled_from(
                        ["proposal", "commit", "attestation", "identify", "digest", "address"]
                    ),
                    "message": st.fixed_dictionaries(
                        {"adapter_digest": DIGESTS, "report_digest": DIGESTS},
                        optional={
                            "task": st.integers(-1, 3),
                            "round": st.integers(-1, 3),
                            "node": st.integers(0, 4),
                            "context": st.sampled_from(["0x" + "00" * 16, "", None]),
                            "parent_digest": DIGESTS,
                            "extra": JSON,
                        },
                    ),
                }
            ),
        ),
        max_size=20,
    ),
)
def test_only_one_proposal_of_the_round_is_ever_signed(questions: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        sim = Sim(Path(folder))
        sim.chain._enter(Phase.TRAINING)
        chain = OneRound(sim.chain)
        addresses = list(sim.nodes)
        key = sim.nodes[sim.chain.proposers[0]].key
        right = {
            "node": key.address,
            "task": TASK,
            "round": ROUND,
            "context": sim.chain.context,
            "parent_digest": sim.chain.parent_digest,
        }
        signed = set()
        for question in questions:
            if isinstance(question, bytes):
                data = question
            else:
                message = right | question["message"]
                if isinstance(message["node"], int):
                    message["node"] = addresses[message["node"] % len(addresses)]
                data = json.dumps(question | {"message": message}).encode()
            with SignedRecord(Path(folder) / "signed.sqlite") as record:
                signer = RuledSigner(KeySigner(key.address, key, DOMAIN), DOMAIN, chain, sim.clock, record)
                reply = answer(data, signer)
            if reply.signature is not None:
                proposal = Proposal.parse(json.loads(data)["message"])
                proposal.require_signer(DOMAIN, reply.signature, key.address)
                assert right.items() <= proposal.model_dump().items()
                signed.add(proposal)
            else:
                assert reply.refusal is not None or reply.address == key.address
        assert len(signed) <= 1
