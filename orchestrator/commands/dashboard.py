"""``collegium dashboard-link``: a link that signs one browser in."""

from urllib.parse import urljoin

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, JsonOption, answering


@answering
def dashboard_link(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """Make a link that signs a browser in to the dashboard: it works once, within 15 minutes."""
    ticket = HubClient(url, token_file).api.dashboard_ticket()
    link = urljoin(url, ticket.url)
    return Answer({"url": link, "lasts_s": ticket.lasts_s}, link)
