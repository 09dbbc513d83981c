"""Contract wallets (ERC-1271) speak for nodes: the double and a real chain behave alike, and over REST."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from contracts.accounts import Account
from contracts.digests import digest_text
from contracts.messages import Enrolment, Exit, Return, Rotation
from contracts.sign_in import SignIn
from contracts.signatures import personal_digest, sign
from orchestrator.adapters.chain import open_contract_signers
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.app import create_app
from orchestrator.domain.chain import ChainError
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.ports import ContractSigners
from orchestrator.domain.signatures import SignatureClaim, UnprovenSignature
from orchestrator.options import AppOptions
from orchestrator.services.enrolment import invite_digest
from orchestrator.services.signatures import MOST_AT_A_TIME, SignatureService
from orchestrator.services.throttle import Limits, Throttle
from tests.chain.anvil import RICH_KEYS, Anvil, running_anvil
from tests.chain.wallets import HOSTILE, Answer, deploy_wallet
from tests.integration.orchestrator_double_rig import DEPLOYMENT, NO_LIMITS, ContractSignersDouble, Rig
from tests.integration.orchestrator_rig import NETWORKS, SignedMessage
from tests.integration.test_orchestrator_membership import header, signed

OWNER = Account.create()
STRANGER = Account.create()
WALLET = to_checksum_address("0x" + "ab" * 20)
NODE = NETWORKS[0]
DIGEST = personal_digest("anything")


# --- the port


@dataclass(frozen=True)
class Chain:
    """Who answers, where there is a wallet of OWNER, and the same chain when it does not answer."""

    signers: ContractSigners
    wallet: str
    down: ContractSigners


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with running_anvil(tmp_path_factory.mktemp("signers") / "anvil.log") as running:
        yield running


@pytest.fixture(scope="module")
def real(anvil: Anvil) -> Chain:
    deployment = deploy(anvil.rpc_url, RICH_KEYS[0], str(Account.from_key(RICH_KEYS[0]).address))
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    return Chain(
        open_contract_signers([anvil.rpc_url], deployment),
        deploy_wallet(anvil, OWNER.address),
        open_contract_signers([nowhere], deployment),
    )


@pytest.fixture(params=["double", "anvil"])
def chain(request: pytest.FixtureRequest) -> Chain:
    if request.param == "anvil":
        found: Chain = request.getfixturevalue("real")
        return found
    owners = {WALLET: OWNER.address}
    return Chain(ContractSignersDouble(owners), WALLET, ContractSignersDouble(owners, is_down=True))


def claim(account: str, key: Any = OWNER) -> SignatureClaim:
    """That the account signed DIGEST; the key did."""
    return SignatureClaim(account, digest_text(DIGEST), sign(DIGEST, bytes(key.key)))


def test_a_wallet_has_signed_what_its_owner_signed(chain: Chain) -> None:
    assert chain.signers.have_signed(claim(chain.wallet))
    assert not chain.signers.have_signed(claim(chain.wallet, STRANGER))
    assert not chain.signers.have_signed(replace(claim(chain.wallet), digest="0x" + "11" * 32))


def test_an_account_without_code_has_signed_what_its_key_signed(chain: Chain) -> None:
    assert chain.signers.have_signed(claim(OWNER.address))
    assert not chain.signers.have_signed(claim(STRANGER.address))


@pytest.mark.parametrize("signature", ["0x" + "11" * 65, "0x" + "ff" * 65, "0x" + "00" * 1024])
def test_nonsense_is_no_signature(chain: Chain, signature: str) -> None:
    for account in (chain.wallet, OWNER.address, "0x" + "00" * 20):
        assert not chain.signers.have_signed(replace(claim(account), signature=signature))


def test_a_chain_that_does_not_answer(chain: Chain) -> None:
    with pytest.raises(ChainError):
        chain.down.have_signed(claim(chain.wallet))


@pytest.mark.parametrize("answer", HOSTILE)
def test_a_wallet_that_misbehaves_has_signed_nothing(real: Chain, anvil: Anvil, answer: Answer) -> None:
    assert not real.signers.have_signed(claim(deploy_wallet(anvil, OWNER.address, answer)))


def test_a_wallet_that_answers_at_length_is_believed(real: Chain, anvil: Anvil) -> None:
    assert real.signers.have_signed(claim(deploy_wallet(anvil, OWNER.address, Answer.HUGE)))


# --- what it costs the hub


def doubted(_: SignatureClaim | None) -> None:
    raise UnprovenSignature("doubtful", claim(WALLET))


class Nested:
    """``ContractSigners`` that are asked again while they are asked."""

    def __init__(self) -> None:
        self.service = SignatureService(self, Throttle(NO_LIMITS))
        self.depth = 0

    def have_signed(self, _: SignatureClaim) -> bool:
        """Ask once more."""
        self.depth += 1
        self.service.settle(doubted)
        return True


def test_few_questions_wait_at_a_time() -> None:
    nested = Nested()
    with pytest.raises(Unavailable, match="too many"):
        nested.service.settle(doubted)
    assert nested.depth == MOST_AT_A_TIME
    with pytest.raises(Unavailable):
        nested.service.settle(doubted)
    assert nested.depth == 2 * MOST_AT_A_TIME, "the places are free again"


def test_questions_of_one_asker_are_bounded(tmp_path: Path) -> None:
    rig = Rig(tmp_path, limits=replace(NO_LIMITS, contract_signatures="2/hour"))
    try:
        admit(rig, WALLET)
        body = signed(Return(**header()), by=NETWORKS[1])
        answers = [rig.admin.post(path("returns"), json=body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [422, 422, 429]
        assert rig.signers.questions == 2
        assert rig.conductor.post(path("returns"), json=body).status_code == 422, "others are not in the way"
    finally:
        rig.close()


# --- over REST


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def path(kind: str, node: str = NODE.address) -> str:
    return f"/v1/nodes/{node}/{kind}"


def admit(rig: Rig, signer: str, node: str = NODE.address) -> None:
    """Admit a node; its owner's key belongs to NODE, whose wallets the double knows."""
    rig.signers.owners |= {WALLET: NODE.address}
    body = {"node": node, "signer": signer, "group": 1, "name": "aurora"}
    rig.post("/v1/nodes", body)
    rig.turn_until(lambda: rig.admin.get(f"/v1/nodes/{node}").is_success)


def test_a_wallet_as_the_signing_key(rig: Rig) -> None:
    admit(rig, WALLET)
    intent = rig.post(path("returns"), signed(Return(**header())))["intent"]
    rig.turn_until(lambda: rig.get(f"/v1/intents/{intent}")["status"] == "mined")
    assert rig.signers.questions == 1
    rotation = signed(Rotation(**header(nonce=1), signer=NETWORKS[2].address))
    rig.post(path("rotations"), rotation)
    assert rig.signers.questions == 1, "what an account's key signed costs no question"


def test_a_wallet_as_the_nodes_own_account(rig: Rig) -> None:
    admit(rig, NETWORKS[1].address, node=WALLET)
    fields = {"node": WALLET, "nonce": 0, "expiry_unix_s": 1 << 40}
    body = signed(Rotation(**fields, signer=NETWORKS[2].address))
    rig.post(path("rotations", WALLET), body)
    rig.turn_until(lambda: rig.get(f"/v1/nodes/{WALLET}")["signer"] == NETWORKS[2].address)


def test_what_no_wallet_accepts_is_refused(rig: Rig) -> None:
    admit(rig, WALLET)
    refused: tuple[SignedMessage, ...] = (Return(**header()), Exit(**header(), amount=1))
    for kind, message in zip(("returns", "exits"), refused, strict=True):
        answer = rig.admin.post(path(kind), json=signed(message, by=NETWORKS[1]))
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_signature")
        assert "no contract at that account accepts it" in answer.json()["detail"]


def test_the_chain_is_asked_last(rig: Rig) -> None:
    admit(rig, WALLET)
    wrong = (Return(**header(nonce=7)), Return(**header(expiry_unix_s=1)))
    for message in wrong:
        assert rig.admin.post(path("returns"), json=signed(message)).status_code in {409, 422}
    stranger = {"node": NETWORKS[3].address, "nonce": 0, "expiry_unix_s": 1 << 40}
    answer = rig.admin.post(path("returns", NETWORKS[3].address), json=signed(Return(**stranger)))
    assert answer.status_code == 404
    assert rig.signers.questions == 0


def test_without_the_chain_there_is_no_verdict(rig: Rig) -> None:
    admit(rig, WALLET)
    rig.signers.is_down = True
    answer = rig.admin.post(path("returns"), json=signed(Return(**header())))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    rig.signers.is_down = False
    rig.post(path("returns"), signed(Return(**header())))


def test_a_hub_that_cannot_ask_takes_keys_only(rig: Rig) -> None:
    admit(rig, WALLET)
    services = rig.app.state.services
    options = AppOptions(limits=NO_LIMITS)
    rig.app.state.services = create_app(
        rig.records, rig.artifacts, DEPLOYMENT, rig.clock, options=options
    ).state.services
    answer = rig.admin.post(path("returns"), json=signed(Return(**header())))
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_signature")
    rig.app.state.services = services


def test_the_conductor_asks_for_a_signature(rig: Rig) -> None:
    admit(rig, WALLET)

    def answer(key: Any, node: str = NODE.address) -> tuple[int, Any]:
        asked = claim(WALLET, Account.from_key(key))
        body = {"digest": asked.digest, "signature": asked.signature}
        response = rig.conductor.post(path("signature-checks", node), json=body)
        return response.status_code, response.json().get("is_accepted")

    assert answer(NODE.key) == (200, True)
    assert answer(NETWORKS[1].key) == (200, False)
    assert answer(NODE.key, NETWORKS[3].address)[0] == 404
    rig.signers.is_down = True
    assert answer(NODE.key)[0] == 503


def signed_in(rig: Rig, sign: Callable[[SignIn], str]) -> int:
    fields = rig.anonymous.post("/v1/sign-in/challenges", json={"node": NODE.address}).json()
    del fields["text"]
    asked = SignIn(**fields)
    body = {"nonce": asked.nonce, "signature": sign(asked)}
    return rig.anonymous.post("/v1/sign-in/tokens", json=body).status_code


def test_a_wallet_signs_in(rig: Rig) -> None:
    admit(rig, WALLET)
    assert signed_in(rig, lambda asked: asked.sign("0x" + NODE.key.hex())) == 201
    assert signed_in(rig, lambda asked: asked.sign("0x" + NETWORKS[1].key.hex())) == 401
    assert signed_in(rig, lambda _: "0x" + "ff" * 1024) == 401


def test_a_wallet_enrols(rig: Rig) -> None:
    rig.signers.owners |= {WALLET: NODE.address}
    secret = rig.post("/v1/enrolments/invites", {"network": "aurora", "group": 1})["secret"]
    message = Enrolment.parse(
        {
            "node": WALLET,
            "signer": NETWORKS[1].address,
            "network": "aurora",
            "flower_key": "ecdsa-sha2-nistp384 " + "A" * 180,
            "certificate": "0x" + "c1" * 32,
            "invite": invite_digest(secret),
        }
    )
    body = {"invite": secret, "message": message.model_dump(mode="json")}
    domain = DEPLOYMENT.registry_domain
    forged = body | {"signature": message.sign(domain, NETWORKS[1].key)}
    assert rig.anonymous.post("/v1/enrolments", json=forged).status_code == 422
    answer = rig.anonymous.post("/v1/enrolments", json=body | {"signature": message.sign(domain, NODE.key)})
    assert answer.status_code == 201, answer.text


def test_limits_that_cannot_be_read_are_named() -> None:
    with pytest.raises(ValueError, match="couldn't parse"):
        Limits(contract_signatures="often").check()
