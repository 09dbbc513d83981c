"""What a network approves in its hospitals' names: the digests of their policies as they are now."""

from contracts.digests import ZERO_DIGEST
from contracts.network_policy import NetworkPolicy
from tier_local.errors import Refused
from tier_local.network import Network, Site
from tier_local.policy import read_policy
from tier_local.rules import Rule


def policy_of(network: Network) -> NetworkPolicy:
    """The network's policy.

    Raises:
        Refused: a hospital's policy cannot be read.
    """
    return NetworkPolicy(sites={site.name: _digest_of(site) for site in network.sites})


def approved(network: Network, digest: str | None) -> Network:
    """The network with what it approved in its sites' names, so that each site can compare.

    ``digest`` is what the network's approval on chain names, or None where nobody says.

    Raises:
        Refused: the network's policy is another one by now, or a hospital's cannot be read.
    """
    if digest is None:
        return network
    policy = policy_of(network)
    if policy.digest != digest:
        raise Refused(Rule.APPROVED, f"the network's policy is {policy.digest}, it approved {digest}")
    return network.model_copy(update={"sites": tuple(_expecting(site, policy) for site in network.sites)})


def _expecting(site: Site, policy: NetworkPolicy) -> Site:
    digest = policy.sites[site.name]
    return site.model_copy(update={"policy_digest": None if digest == ZERO_DIGEST else digest})


def _digest_of(site: Site) -> str:
    if site.policy_digest is not None:
        return site.policy_digest
    return ZERO_DIGEST if site.policy_file is None else read_policy(site.policy_file).digest
