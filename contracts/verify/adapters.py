"""Checks of artifacts: the task spec, proposed adapters, reports, parents, and the aggregate they make.

Every artifact is read and hashed once; adapters are looked at where they are mapped.
"""

from collections.abc import Sequence

from contracts.aggregation import Contribution
from contracts.digests import sha256_digest
from contracts.errors import InvalidAdapter, InvalidTaskSpec, NotFinite
from contracts.manifest import Buffer
from contracts.parent import Parent, next_parent, read_parent
from contracts.settlement import ProposalTally, aggregation_weights
from contracts.task import MAX_SPEC_BYTES, TaskSpec
from contracts.verify.artifact_source import ArtifactSource
from contracts.verify.comparison import Comparison, disagreement

_MOST_REPORT_BYTES = 16 << 20
_SPARE_BYTES = 1 << 30
"""How much larger than the manifest says a refused adapter may be for its digest still to be checked."""


class ArtifactChecks:
    """Reads artifacts of one task and compares them with their digests and the task's manifest."""

    def __init__(self, source: ArtifactSource, compare: Comparison, spec_digest: str) -> None:
        """Read the task spec.

        Raises:
            Disagreement: it is missing, has another digest, or is no task spec.
        """
        self._source = source
        self._compare = compare
        data = self._required("the task spec", spec_digest, MAX_SPEC_BYTES)
        try:
            self.spec = TaskSpec.parse(bytes(data))
        except InvalidTaskSpec as error:
            raise disagreement("the task spec", expected="a valid spec", found=f"broken: {error}") from error
        compare.same("the task spec's canonical form", expected=spec_digest, found=self.spec.digest)
        self._parent: Parent | None = None

    def genesis(self, digest: str) -> None:
        """Check the adapter that the first round starts from.

        Raises:
            Disagreement: the chain and the spec name different ones, or the artifact is wrong.
        """
        self._compare.same("the genesis digest", expected=self.spec.genesis_digest, found=digest)
        self._parent = self._read_parent("the genesis adapter", digest, None)

    def proposal(self, round_number: int, node: str, digest: str, *, accepted: bool) -> Contribution | None:
        """Check a proposed adapter; an accepted one is returned for the aggregate.

        A refused adapter may be missing or break the manifest: that may be why it was refused. What is
        stored under its digest must have that digest all the same.

        Raises:
            Disagreement: stored bytes have another digest, or an accepted adapter is not usable.
        """
        if accepted:
            return self._adapter("the accepted adapter", digest, round_number, node)
        most_bytes = self.spec.manifest.file_bytes + _SPARE_BYTES
        self._optional("the adapter that was not accepted", digest, most_bytes, round_number, node)
        return None

    def report(self, round_number: int, node: str, digest: str) -> None:
        """Check a proposal's report, if it is there; a network may keep it to itself.

        Raises:
            Disagreement: stored bytes have another digest.
        """
        self._optional("the report", digest, _MOST_REPORT_BYTES, round_number, node)

    def weights(self, accepted: Sequence[ProposalTally]) -> dict[str, int]:
        """What each accepted proposal weighs in the aggregate, by node."""
        weights = aggregation_weights([tally.median_micronats for tally in accepted], self.spec.aggregation)
        return {tally.node: weight for tally, weight in zip(accepted, weights, strict=True)}

    def aggregate_digest(
        self, round_number: int, parent_digest: str, contributions: Sequence[Contribution]
    ) -> str:
        """The digest of what the task's rule and outer optimiser make of the accepted adapters.

        Raises:
            Disagreement: the parent is not usable, or the rule gives no usable aggregate.
        """
        parent = self._parent
        if parent is None or parent.digest != parent_digest:
            parent = self._read_parent("the parent's artifact", parent_digest, round_number)
        try:
            return next_parent(self.spec, parent, contributions).digest
        except NotFinite as error:
            raise disagreement(
                "the aggregate", expected="finite", found=str(error), round_number=round_number
            ) from error

    def aggregate_artifact(self, round_number: int, digest: str) -> None:
        """Check the stored aggregate: it is the next parent.

        Raises:
            Disagreement: it is missing, has another digest, or breaks the manifest.
        """
        self._parent = self._read_parent("the aggregate's artifact", digest, round_number)

    def _adapter(self, what: str, digest: str, round_number: int, node: str) -> Contribution:
        data = self._required(what, digest, self.spec.manifest.file_bytes, round_number, node)
        try:
            tensors = self.spec.manifest.decode(data)
        except InvalidAdapter as error:
            raise disagreement(
                what,
                expected="an adapter by the task's manifest",
                found=f"broken: {error}",
                round_number=round_number,
                node=node,
            ) from error
        return Contribution(node=node, digest=digest, tensors=tensors)

    def _read_parent(self, what: str, digest: str, round_number: int | None) -> Parent:
        most_bytes = max(self.spec.manifest.file_bytes, self.spec.parent_manifest.file_bytes)
        data = self._bounded(what, digest, most_bytes, round_number)
        try:
            parent = read_parent(self.spec, digest, data)
        except InvalidAdapter as error:
            # Of bytes with another digest nothing else matters.
            self._same_digest(what, digest, data, round_number, None)
            raise disagreement(
                what,
                expected="a parent by the task's manifest",
                found=f"broken: {error}",
                round_number=round_number,
            ) from error
        self._compare.same(f"the digest of {what}", expected=digest, found=parent.digest)
        return parent

    def _required(
        self,
        what: str,
        digest: str,
        most_bytes: int,
        round_number: int | None = None,
        node: str | None = None,
    ) -> Buffer:
        data = self._bounded(what, digest, most_bytes, round_number, node)
        self._same_digest(what, digest, data, round_number, node)
        return data

    def _bounded(
        self,
        what: str,
        digest: str,
        most_bytes: int,
        round_number: int | None = None,
        node: str | None = None,
    ) -> Buffer:
        data = self._source.read(digest, most_bytes=most_bytes)
        if data is None:
            raise disagreement(what, expected=digest, found="missing", round_number=round_number, node=node)
        if len(data) > most_bytes:
            raise disagreement(
                what,
                expected=f"at most {most_bytes} bytes",
                found="larger",
                round_number=round_number,
                node=node,
            )
        return data

    def _optional(self, what: str, digest: str, most_bytes: int, round_number: int, node: str) -> None:
        data = self._source.read(digest, most_bytes=most_bytes)
        if data is None:
            self._compare.unchecked(f"round {round_number}: {what} of {node} is not among the artifacts")
        elif len(data) > most_bytes:
            self._compare.unchecked(
                f"round {round_number}: {what} of {node} is larger than {most_bytes} bytes"
            )
        else:
            self._same_digest(what, digest, data, round_number, node)

    def _same_digest(
        self, what: str, digest: str, data: Buffer, round_number: int | None, node: str | None
    ) -> None:
        self._compare.same(
            f"the digest of {what}",
            expected=digest,
            found=sha256_digest(data),
            round_number=round_number,
            node=node,
        )
