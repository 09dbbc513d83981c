"""Examples for the API's description, put together from JSON schemas."""

from typing import Any

Json = dict[str, Any]

_DIGEST = "0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_ACCOUNT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
_BY_NAME: dict[str, Any] = {
    "absences": 0,
    "accuracy": 0.41,
    "cursor": "WyJub2RlcyIsIjB4NWFBZWI2MDUzRjNFOTRDOWI5QTA5ZjMzNjY5NDM1RTdFZjFCZUFlZCJd",
    "next_cursor": "WyJub2RlcyIsIjB4NWFBZWI2MDUzRjNFOTRDOWI5QTA5ZjMzNjY5NDM1RTdFZjFCZUFlZCJd",
    "acceptance_threshold_micronats": -250_000,
    "If-Match": '"5f0c1d"',
    "If-Range": '"5f0c1d"',
    "Range": "bytes=0-1048575",
    "Content-Range": "bytes 0-1048575/3000000",
    "Last-Event-ID": 17,
    "proposers": 3,
    "voters": 4,
    "rounds": 4,
    "attestation_quorum_bps": 5_000,
    "closeness_range_micronats": 1_000_000,
    "context": "0x" + "a1" * 16,
    "correct": 123,
    "error": None,
    "flower_key": "ecdsa-sha2-nistp384 " + "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ" * 4,
    "gas": {"proposal": 98_304, "advance": 412_077},
    "gas_used": 98_304,
    "group": 1,
    "interval_high": 0.47,
    "interval_low": 0.36,
    "kind": "proposal",
    "limit": 50,
    "loss_nats": 1.87,
    "median_improvement_micronats": 41_250,
    "min_proposals": 2,
    "min_reveals": 3,
    "min_scorers": 2,
    "name": "aurora",
    "network": "aurora",
    "not_ready": [],
    "phase": "training",
    "proposer_share_bps": 6_000,
    "records": 300,
    "round": 2,
    "round_number": 2,
    "score_micronats": 50_000,
    "scores_micronats": [41_250, -3_000],
    "seconds": {"requested": 3, "training": 118},
    "signature": "0x" + "1b" * 65,
    "transaction_hash": "0x" + "7c" * 32,
}
_BY_ENDING: tuple[tuple[str, Any], ...] = (
    ("_digest", _DIGEST),
    ("digest", _DIGEST),
    ("salt", _DIGEST),
    ("commitment", _DIGEST),
    ("_unix_s", 1_767_225_600),
    ("_bps", 500),
    ("_s", 120),
)
_ACCOUNTS = frozenset({"node", "signer", "funder", "successor", "approved", "proposers", "voters"})
_BY_PATTERN = {
    r"^[0-9]{1,78}$": "300000000000000000000",
    r"^0x[0-9a-f]{64}$": _DIGEST,
    r"^0x[0-9a-fA-F]{40}$": _ACCOUNT,
}


class Examples:
    """Makes examples of the schemas that a description's components hold."""

    def __init__(self, schemas: Json) -> None:
        self._schemas = schemas

    def of(self, schema: Json, name: str) -> Any:
        """An example of a schema, for a field of that name."""
        schema = self._resolved(schema)
        for given in ("example", "const", "default"):
            if schema.get(given) is not None:
                return schema[given]
        if schema.get("examples"):
            return schema["examples"][0]
        if "enum" in schema:
            return schema["enum"][0]
        known = self._known(schema, name)
        return self._made(schema, name) if known is None else known[0]

    def _resolved(self, schema: Json) -> Json:
        if "$ref" in schema:
            return self._resolved(self._schemas[schema["$ref"].rpartition("/")[2]])
        alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if alternatives:
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "allOf")}
            first = next((each for each in alternatives if each.get("type") != "null"), alternatives[0])
            # A null among the alternatives may be what the name stands for.
            may_be_null = any(each.get("type") == "null" for each in alternatives)
            return self._resolved(first) | rest | ({"nullable": True} if may_be_null else {})
        return schema

    def _known(self, schema: Json, name: str) -> tuple[Any] | None:
        """What stands for a name, where that fits the type."""
        kind = schema.get("type")
        if kind == "string" and name in _ACCOUNTS:
            return (_ACCOUNT,)
        if schema.get("pattern") in _BY_PATTERN:
            return (_BY_PATTERN[schema["pattern"]],)
        found = [_BY_NAME[name]] if name in _BY_NAME else []
        found += [value for ending, value in _BY_ENDING if name.endswith(ending)]
        fitting = (value for value in found if _fits(value, schema))
        value = next(fitting, self)
        return None if value is self else (value,)

    def _made(self, schema: Json, name: str) -> Any:
        match schema.get("type"):
            case "object":
                made = {key: self.of(each, key) for key, each in schema.get("properties", {}).items()}
                if not made and isinstance(schema.get("additionalProperties"), dict):
                    return {"example": self.of(schema["additionalProperties"], "")}
                return made
            case "array":
                return [self.of(schema.get("items", {}), name)]
            case "integer":
                return max(1, int(schema.get("minimum", 1)))
            case "number":
                return float(max(0, schema.get("minimum", 0)))
            case "boolean":
                return True
            case "null":
                return None
        return "text"


def _fits(value: Any, schema: Json) -> bool:
    if value is None:
        return bool(schema.get("nullable"))
    kinds: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "array": list,
        "object": dict,
    }
    kind = kinds.get(schema.get("type", ""))
    return kind is not None and isinstance(value, kind)
