"""The REST API: routers by noun, schemas, one error mapping. An endpoint parses, calls one service, answers."""
