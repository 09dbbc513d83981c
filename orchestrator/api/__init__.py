"""The REST API: routers by noun, schemas, one error mapping; an endpoint calls one service."""
