"""What a network declares of itself: its sites, and its policy in every version."""

from fastapi import APIRouter, Response

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.declaration_schemas import PolicyAnswer, PolicyList, PolicyRequest, SiteBody, SiteList
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.preconditions import ExpectedVersions, entity_tag
from orchestrator.api.routers.paths import NodeInPath
from orchestrator.domain.declarations import Site, version_of_policy, version_of_sites

router = APIRouter(prefix="/v1/nodes/{node}", tags=["sites and policies"], route_class=TokenFirst)


@router.get("/sites", operation_id="list_sites")
def list_sites(node: NodeInPath, response: Response, services: ServicesOfApp, caller: Caller) -> SiteList:
    """A network's sites, by name; an operator sees those of its own network."""
    return _site_list(services.declarations.sites(caller, node), response)


@router.put("/sites", operation_id="declare_sites")
def declare_sites(
    node: NodeInPath,
    request: SiteList,
    response: Response,
    services: ServicesOfApp,
    caller: Caller,
    expected: ExpectedVersions,
) -> SiteList:
    """Replace the sites of the operator's own network."""
    sites = [site.to_site() for site in request.items]
    return _site_list(services.declarations.declare_sites(caller, node, sites, expected), response)


@router.get("/policy", operation_id="get_policy")
def get_policy(node: NodeInPath, response: Response, services: ServicesOfApp, caller: Caller) -> PolicyAnswer:
    """A network's policy as it is now."""
    policy = services.declarations.policy(caller, node)
    response.headers["ETag"] = entity_tag(version_of_policy(policy))
    return PolicyAnswer.model_validate(policy)


@router.put("/policy", operation_id="declare_policy")
def declare_policy(
    node: NodeInPath,
    request: PolicyRequest,
    response: Response,
    services: ServicesOfApp,
    caller: Caller,
    expected: ExpectedVersions,
) -> PolicyAnswer:
    """Declare a new version of the policy of the operator's own network; earlier ones stay readable."""
    policy = services.declarations.declare_policy(caller, node, request.document, expected)
    response.headers["ETag"] = entity_tag(version_of_policy(policy))
    return PolicyAnswer.model_validate(policy)


@router.get("/policy/versions", operation_id="list_policies")
def list_policies(
    node: NodeInPath, services: ServicesOfApp, caller: Caller, paging: PagingOfRequest
) -> PolicyList:
    """Every version of a network's policy, oldest first."""
    listing = Listing(f"policies of {node}", (int,))
    page = services.declarations.policies(caller, node, paging.after(listing), paging.limit)
    items = page.shown_as(PolicyAnswer.model_validate).items
    return PolicyList(items=items, next_cursor=listing.cursor(page.next_key))


def _site_list(sites: tuple[Site, ...], response: Response) -> SiteList:
    response.headers["ETag"] = entity_tag(version_of_sites(sites))
    return SiteList(items=tuple(SiteBody.model_validate(site) for site in sites))
