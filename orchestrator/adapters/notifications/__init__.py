"""Telling receivers outside: webhooks over HTTPS, to public addresses only."""

from orchestrator.adapters.notifications.http import HttpReceivers

__all__ = ["HttpReceivers"]
