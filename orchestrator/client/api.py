"""The hub's operations as methods; each may raise ``HubError``."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.client import artifacts
from orchestrator.client.answers import (
    Answer,
    Approval,
    Delivery,
    Enrolment,
    EnrolmentApproval,
    Evaluation,
    Event,
    Intent,
    Invite,
    Model,
    ModelCard,
    Node,
    OpenSession,
    Policy,
    Proposal,
    Report,
    RewardLine,
    Round,
    Slash,
    Task,
    TaskOrder,
    Ticket,
    Token,
    TokenSecret,
    User,
    Vote,
    Webhook,
    WebhookMade,
)
from orchestrator.client.errors import HubRefused
from orchestrator.client.events import Follower
from orchestrator.client.session import Session, parsed

_NOT_FOUND = 404

Found = TypeVar("Found", bound=Answer)


class Client(Session):
    """A session with the hub, in the name of a token."""

    # Nodes

    def nodes(self) -> Iterator[Node]:
        """All nodes, by address."""
        return self._list(Node, "/v1/nodes")

    def node(self, node: str) -> Node | None:
        """A node; None before it is admitted."""
        return self._find(Node, f"/v1/nodes/{node}")

    def admit_node(self, node: str, *, signer: str, group: int, name: str) -> Intent:
        """Order a node's admission."""
        body = {"node": node, "signer": signer, "group": group, "name": name}
        return parsed(Intent, self.post("/v1/nodes", body))

    def withdraw_stake(self, node: str) -> Intent:
        """Order the payment of what has matured of a stake."""
        return parsed(Intent, self.post(f"/v1/nodes/{node}/withdrawals"))

    def claim_rewards(self, node: str) -> Intent:
        """Order the payment of a node's rewards."""
        return parsed(Intent, self.post(f"/v1/nodes/{node}/claims"))

    # Tasks

    def tasks(self) -> Iterator[Task]:
        """All tasks: those on chain by number, then those ordered."""
        return self._list(Task, "/v1/tasks")

    def task(self, task: int) -> Task:
        """A task on chain."""
        return parsed(Task, self.get(f"/v1/tasks/{task}"))

    def create_task(
        self, *, spec_digest: str, name: str, config: Mapping[str, Any], pool: int | str
    ) -> TaskOrder:
        """Order a task; its spec and genesis adapter are stored already."""
        body = {"spec_digest": spec_digest, "name": name, "config": dict(config), "pool": str(pool)}
        return parsed(TaskOrder, self.post("/v1/tasks", body))

    def pause_task(self, task: int, *, if_match: str | None = None) -> Intent:
        """Abort the open round, without faults, and open no other."""
        return parsed(Intent, self.post(f"/v1/tasks/{task}/pause", if_match=if_match))

    def unpause_task(self, task: int, *, if_match: str | None = None) -> Intent:
        """Let rounds be requested again."""
        return parsed(Intent, self.delete(f"/v1/tasks/{task}/pause", if_match=if_match))

    def cancel_task(self, task: int, *, if_match: str | None = None) -> Intent:
        """End a task."""
        return parsed(Intent, self.post(f"/v1/tasks/{task}/cancellation", if_match=if_match))

    def refund_task(self, task: int, funder: str, *, if_match: str | None = None) -> Intent:
        """Pay a funder its part of what an ended task left."""
        return parsed(Intent, self.post(f"/v1/tasks/{task}/refunds", {"funder": funder}, if_match=if_match))

    def evaluations(self, task: int) -> Iterator[Evaluation]:
        """A task's evaluations, by round and name."""
        return self._list(Evaluation, f"/v1/tasks/{task}/evaluations")

    def record_evaluation(self, evaluation: Evaluation) -> Evaluation:
        """Keep an evaluation; round 0 is the base model."""
        path = f"/v1/tasks/{evaluation.task}/rounds/{evaluation.round}/evaluations"
        return parsed(Evaluation, self.post(path, evaluation.model_dump(exclude={"task", "round"})))

    def approvals(self, task: int) -> Iterator[Approval]:
        """The approvals of a task that stand on chain, by node."""
        return self._list(Approval, f"/v1/tasks/{task}/approvals")

    # Rounds

    def rounds(self, task: int) -> Iterator[Round]:
        """A task's rounds, by number."""
        return self._list(Round, f"/v1/tasks/{task}/rounds")

    def round(self, task: int, round_number: int) -> Round | None:
        """A round; None before it is requested."""
        return self._find(Round, f"/v1/tasks/{task}/rounds/{round_number}")

    def proposals(self, task: int, round_number: int) -> Iterator[Proposal]:
        """A round's proposals, by node."""
        return self._list(Proposal, f"/v1/tasks/{task}/rounds/{round_number}/proposals")

    def votes(self, task: int, round_number: int) -> Iterator[Vote]:
        """A round's votes, in the order of the draw."""
        return self._list(Vote, f"/v1/tasks/{task}/rounds/{round_number}/votes")

    def reports(self, task: int, round_number: int) -> Iterator[Report]:
        """What the networks say of their proposals, by node."""
        return self._list(Report, f"/v1/tasks/{task}/rounds/{round_number}/reports")

    # The ledger

    def intents(self, *, status: str | None = None, task: int | None = None) -> Iterator[Intent]:
        """The hub's transactions, newest first."""
        return self._list(Intent, "/v1/intents", status=status, task=task)

    def intent(self, intent: int) -> Intent:
        """One of them."""
        return parsed(Intent, self.get(f"/v1/intents/{intent}"))

    def rewards(self, *, task: int | None = None, node: str | None = None) -> Iterator[RewardLine]:
        """Rewards, by task, round and node."""
        return self._list(RewardLine, "/v1/rewards", task=task, node=node)

    def slashes(self, *, task: int | None = None, node: str | None = None) -> Iterator[Slash]:
        """Slashes, by number."""
        return self._list(Slash, "/v1/slashes", task=task, node=node)

    def waive_slash(self, slash: int) -> Intent:
        """Give a pending slash back to the stake."""
        return parsed(Intent, self.post(f"/v1/slashes/{slash}/waiver"))

    def execute_slash(self, slash: int) -> Intent:
        """Pay a slash to its task's pool."""
        return parsed(Intent, self.post(f"/v1/slashes/{slash}/execution"))

    # Models and artifacts

    def models(self) -> Iterator[Model]:
        """The models of all final rounds."""
        return self._list(Model, "/v1/models")

    def model(self, digest: str) -> ModelCard:
        """A model, with all that is known of it."""
        return parsed(ModelCard, self.get(f"/v1/models/{digest}"))

    def model_card(self, digest: str) -> str:
        """The same as a document for people."""
        return self.send("GET", f"/v1/models/{digest}/card").text

    def upload(self, digest: str, file: Path) -> None:
        """Store a file's bytes under their digest."""
        artifacts.upload(self, digest, file)

    def upload_bytes(self, digest: str, data: bytes) -> None:
        """Store bytes under their digest."""
        self.send("PUT", f"/v1/artifacts/{digest}", content=data)

    def download(self, digest: str, file: Path) -> None:
        """Write an artifact to a file, which appears when it is whole and right."""
        artifacts.download(self, digest, file)

    # What happens

    def events(self, *, after: int | None = None, for_s: float | None = None) -> Iterator[Event]:
        """Every event after a number (None: from now on), also those while the hub or the network was away.

        For ever, or until the first sign of life after ``for_s``: at most 15 s later.
        """
        return (event for events in self.follow(after=after, for_s=for_s) for event in events)

    def follow(self, *, after: int | None = None, for_s: float | None = None) -> Iterator[tuple[Event, ...]]:
        """The same, and nothing, ``()``, whenever the stream has begun: from then on nothing is missed."""
        return Follower(self, after, for_s=for_s).batches()

    # Networks on their way in, and what they declare

    def enrolments(self) -> Iterator[Enrolment]:
        """Enrolments, oldest first."""
        return self._list(Enrolment, "/v1/enrolments")

    def invite_network(self, network: str, *, group: int, lasts_s: int) -> Invite:
        """Make an invite for one network."""
        body = {"network": network, "group": group, "lasts_s": lasts_s}
        return parsed(Invite, self.post("/v1/enrolments/invites", body))

    def approve_enrolment(self, enrolment: int) -> EnrolmentApproval:
        """Order the admission of the network's node."""
        return parsed(EnrolmentApproval, self.post(f"/v1/enrolments/{enrolment}/approval"))

    def refuse_enrolment(self, enrolment: int, reason: str) -> Enrolment:
        """Say no to a statement."""
        return parsed(Enrolment, self.post(f"/v1/enrolments/{enrolment}/refusal", {"reason": reason}))

    def policies(self, node: str) -> Iterator[Policy]:
        """Every version of a network's policy, oldest first."""
        return self._list(Policy, f"/v1/nodes/{node}/policy/versions")

    # Tokens

    def tokens(self) -> Iterator[Token]:
        """The tokens that were not revoked, oldest first."""
        return self._list(Token, "/v1/tokens")

    def current_token(self) -> Token:
        """The token of this session."""
        return parsed(Token, self.get("/v1/tokens/current"))

    def create_token(
        self,
        name: str,
        role: str,
        *,
        lasts_s: int,
        node: str | None = None,
        operations: Sequence[str] | None = None,
    ) -> TokenSecret:
        """Make a token."""
        body: dict[str, Any] = {"name": name, "role": role, "lasts_s": lasts_s, "node": node}
        if operations is not None:
            body["operations"] = list(operations)
        return parsed(TokenSecret, self.post("/v1/tokens", body))

    def rotate_token(self, token: int) -> TokenSecret:
        """Give a token a new secret; the old one is worthless at once."""
        return parsed(TokenSecret, self.post(f"/v1/tokens/{token}/rotation"))

    def revoke_token(self, token: int | None = None) -> None:
        """Make a token worthless at once; without a number, the one that asks."""
        self.delete(f"/v1/tokens/{'current' if token is None else token}")

    # Webhooks

    def webhooks(self) -> Iterator[Webhook]:
        """The receivers, by number."""
        return self._list(Webhook, "/v1/webhooks")

    def create_webhook(self, url: str, kinds: Sequence[str] = ()) -> WebhookMade:
        """Tell a receiver of what happens from now on."""
        return parsed(WebhookMade, self.post("/v1/webhooks", {"url": url, "kinds": list(kinds)}))

    def delete_webhook(self, webhook: int) -> None:
        """Tell a receiver nothing more."""
        self.delete(f"/v1/webhooks/{webhook}")

    def deliveries(self, webhook: int) -> Iterator[Delivery]:
        """A receiver's deliveries, newest first."""
        return self._list(Delivery, f"/v1/webhooks/{webhook}/deliveries")

    def replay_delivery(self, webhook: int, delivery: int) -> Delivery:
        """Deliver once more."""
        return parsed(Delivery, self.post(f"/v1/webhooks/{webhook}/deliveries/{delivery}/replay"))

    # People

    def users(self) -> Iterator[User]:
        """The admins with a password, by name."""
        return self._list(User, "/v1/users")

    def remove_user(self, name: str) -> None:
        """Forget an admin with a password; the sessions end at once."""
        self.delete(f"/v1/users/{name}")

    def sessions(self) -> Iterator[OpenSession]:
        """The browsers that are signed in, by number."""
        return self._list(OpenSession, "/v1/sessions")

    def end_session(self, session: int) -> None:
        """Sign a browser out at once."""
        self.delete(f"/v1/sessions/{session}")

    def dashboard_ticket(self) -> Ticket:
        """A link that signs one browser in, once."""
        return parsed(Ticket, self.post("/dashboard/tickets"))

    def _list(self, model: type[Found], path: str, **query: str | int | None) -> Iterator[Found]:
        return (parsed(model, item) for item in self.items(path, **query))

    def _find(self, model: type[Found], path: str) -> Found | None:
        try:
            return parsed(model, self.get(path))
        except HubRefused as error:
            if error.status == _NOT_FOUND:
                return None
            raise
