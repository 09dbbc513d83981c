"""A typed client of the hub's REST API; needs httpx and pydantic alone, and nothing of the hub itself.

``orchestrator.client.api.Client`` is the client, ``answers`` what it gives, ``errors`` what it raises.
"""
