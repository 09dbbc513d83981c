"""The network's own file: its name, its hospitals and where their data lie; the hub never sees it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from contracts.digests import Digest
from tier_local.errors import BadInput

SiteName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9\-]{0,39}$")]
"""A hospital's name in the federation; it becomes a folder and a part of a command line."""

_RESERVED_SITE_NAMES = frozenset({"server"})


class Site(BaseModel):
    """One hospital: its name, and the folder that holds ``train.jsonl`` and ``heldout.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: SiteName
    data_folder: Path
    policy_file: Path | None = None
    """The hospital's own policy; without one the simulator lets everything happen."""
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
    model_cache: Path
    threads_per_site: Annotated[int, Field(ge=1, le=256)] = 1
    environment: Literal["simulator"] = "simulator"

    @model_validator(mode="after")
    def _site_names_are_unique_and_free(self) -> Self:
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError("each site has its own name")
        if taken := _RESERVED_SITE_NAMES.intersection(names):
            raise ValueError(f"a site cannot be named {min(taken)!r}")
        return self

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
        sites = tuple(_with_folders_below(here, site) for site in network.sites)
        return network.model_copy(update={"sites": sites, "model_cache": here / network.model_cache})


def _with_folders_below(here: Path, site: Site) -> Site:
    paths = {name: getattr(site, name) for name in ("data_folder", "policy_file", "state_folder")}
    return site.model_copy(update={name: here / path for name, path in paths.items() if path is not None})
