"""The network's own file: its name, its hospitals and where their data lie; the hub never sees it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from contracts.digests import Digest
from tier_local.errors import BadInput

SITE_NAME_PATTERN = r"^[a-z][a-z0-9\-]{0,39}$"
SiteName = Annotated[str, StringConstraints(pattern=SITE_NAME_PATTERN)]
"""A hospital's name in the federation; it becomes a folder and a part of a command line."""

RESERVED_SITE_NAMES = frozenset({"server"})


class Site(BaseModel):
    """One hospital: its name, and the folder that holds ``train.jsonl`` and ``heldout.jsonl``.

    Folders and files are said here for sites on this machine only; in a deployed federation each hospital
    knows its own, and the network at most the digest of its policy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: SiteName
    data_folder: Path | None = None
    policy_file: Path | None = None
    """The hospital's own policy; without one everything may happen here."""
    state_folder: Path | None = None
    """Where the hospital's egress log is kept."""
    policy_digest: Digest | None = None
    """What the network approves in the hospital's name; the policy file must have this digest."""

    @model_validator(mode="after")
    def _a_policy_has_a_log(self) -> Self:
        if (self.policy_file is None) != (self.state_folder is None):
            raise ValueError("policy_file and state_folder are given together, or neither")
        return self


class Network(BaseModel):
    """A network of hospitals that trust one another, and how its inner rounds run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    sites: Annotated[tuple[Site, ...], Field(min_length=1, max_length=100)]
    environment: Literal["simulator", "poc", "production"] = "simulator"
    """Where inner rounds run: in NVFlare's simulator or in a federation made for the round, both on this
    machine, or in the deployed federation."""
    model_cache: Path | None = None
    """For sites on this machine."""
    threads_per_site: Annotated[int, Field(ge=1, le=256)] = 1
    """For sites on this machine."""
    admin_kit: Path | None = None
    """For the deployed federation: the startup kit with which the node submits jobs."""
    least_sites: Annotated[int, Field(ge=1)] | None = None
    """So many sites must answer in an inner round; all of them, when it is not said."""
    answer_seconds: Annotated[float, Field(gt=0)] | None = None
    """A site whose answer is not there so long after the round was asked for is left out."""

    @model_validator(mode="after")
    def _site_names_are_unique_and_free(self) -> Self:
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError("each site has its own name")
        if taken := RESERVED_SITE_NAMES.intersection(names):
            raise ValueError(f"a site cannot be named {min(taken)!r}")
        return self

    @model_validator(mode="after")
    def _sites_can_answer(self) -> Self:
        if self.sites_that_must_answer > len(self.sites):
            raise ValueError("least_sites: there are fewer sites")
        if self.sites_that_must_answer < len(self.sites) and self.answer_seconds is None:
            raise ValueError("answer_seconds: say how long to wait for the sites that need not answer")
        return self

    @model_validator(mode="after")
    def _environment_has_what_it_needs(self) -> Self:
        if self.environment == "production":
            if self.admin_kit is None:
                raise ValueError("admin_kit: the deployed federation needs the startup kit of an admin")
        elif self.model_cache is None:
            raise ValueError(f"model_cache: the {self.environment} needs the folder of base models")
        elif without := [site.name for site in self.sites if site.data_folder is None]:
            raise ValueError(f"sites: the {self.environment} needs the data_folder of {without[0]!r}")
        return self

    @property
    def sites_that_must_answer(self) -> int:
        """How many answers an inner round needs."""
        return len(self.sites) if self.least_sites is None else self.least_sites

    @property
    def approved_policy_digests(self) -> dict[SiteName, Digest]:
        """What the network approves in its hospitals' names, of those for which it says a policy."""
        return {site.name: site.policy_digest for site in self.sites if site.policy_digest is not None}

    @classmethod
    def read(cls, path: Path) -> Self:
        """The network in the file at ``path``; relative folders in it start at the file's own folder.

        Raises:
            BadInput: the file is missing, not JSON, or not the schema; the message names the field.
        """
        try:
            network = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadInput(f"cannot read the network file {path}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise BadInput(f"network file {path}: {where}: {first['msg']}") from error
        here = path.resolve().parent
        sites = tuple(
            site.model_copy(update=_below(here, site, "data_folder", "policy_file", "state_folder"))
            for site in network.sites
        )
        return network.model_copy(
            update={"sites": sites, **_below(here, network, "model_cache", "admin_kit")}
        )


def _below(here: Path, model: BaseModel, *names: str) -> dict[str, Path]:
    """Those of a model's paths that are given; relative ones start at ``here``."""
    return {name: here / path for name in names if (path := getattr(model, name)) is not None}
