"""The files of a round as the conductor needs them: spec, parent, proposals, aggregate; each fetched once."""

import logging

from contracts.aggregation import Contribution
from contracts.errors import ContractViolation
from contracts.parent import read_parent
from contracts.task import TaskSpec
from tier_global.errors import HubRefused
from tier_global.hub import Hub, RoundResource
from tier_global.scoring import accepted_parent

log = logging.getLogger("collegium.conductor")


class RoundFiles:
    """Artifacts of one round from the orchestrator's store; each may raise HubUnavailable or HubRefused."""

    def __init__(self, hub: Hub, task: int) -> None:
        self._hub = hub
        self._task = task
        self._artifacts: dict[str, bytes] = {}
        self._spec_bytes = b""
        self._spec: TaskSpec | None = None
        self._aggregate_is_stored = False

    def spec(self) -> TaskSpec:
        """The task's spec."""
        if self._spec is None:
            self._spec_bytes = self._hub.artifact(self._hub.spec_digest(self._task))
            self._spec = TaskSpec.parse(self._spec_bytes)
        return self._spec

    def spec_bytes(self) -> bytes:
        """The task's spec as it is stored."""
        self.spec()
        return self._spec_bytes

    def parent(self, view: RoundResource) -> dict[str, bytes]:
        """The parent's file by its digest."""
        return {view.parent_digest: self._artifact(view.parent_digest)}

    def adapters(self, view: RoundResource) -> dict[str, bytes]:
        """The files of the parent and of every proposal that is to be had, by digest."""
        adapters = self.parent(view)
        for proposal in view.proposals:
            try:
                adapters[proposal.adapter_digest] = self._artifact(proposal.adapter_digest)
            except HubRefused as refusal:
                log.warning("the adapter of %s is not to be had: %s", proposal.node, refusal)
        return adapters

    def store_aggregate(self, view: RoundResource) -> None:
        """Recompute the aggregate of what was accepted and store it, once, for everybody to get."""
        if self._aggregate_is_stored:
            return
        spec = self.spec()
        accepted = [proposal for proposal in view.proposals if proposal.accepted]
        try:
            contributions = [
                Contribution(
                    node=proposal.node,
                    digest=proposal.adapter_digest,
                    tensors=spec.manifest.decode(self._artifact(proposal.adapter_digest)),
                )
                for proposal in accepted
            ]
            medians_micronats = [proposal.median_improvement_micronats or 0 for proposal in accepted]
            parent = read_parent(spec, view.parent_digest, self._artifact(view.parent_digest))
            made = accepted_parent(spec, parent, contributions, medians_micronats)
            digest = self._hub.store_artifact(bytes(made.data))
            log.info("attest: the aggregate of %d adapters is %s", len(accepted), digest)
        except (ContractViolation, HubRefused) as refusal:
            log.error("attest: the aggregate cannot be made or stored: %s", refusal)
        self._aggregate_is_stored = True

    def _artifact(self, digest: str) -> bytes:
        if digest not in self._artifacts:
            self._artifacts[digest] = self._hub.artifact(digest)
        return self._artifacts[digest]
