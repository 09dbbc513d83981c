"""The names that a PromQL query asks for: metrics, and labels it selects or groups by. Not a whole parser.

It knows what our rules and panels use (selectors, ranges, functions, aggregations, arithmetic, comparisons)
and refuses what it does not know, so that nothing goes unchecked.
"""

import re
from dataclasses import dataclass

FUNCTIONS = frozenset({"rate", "delta", "increase", "histogram_quantile", "time", "clamp_min", "vector"})
AGGREGATIONS = frozenset({"sum", "max", "min", "avg", "count"})
GROUPINGS = frozenset({"by", "without"})
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<duration>\[\d+[smhd]\])
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<matcher>=~|!~|!=(?!=)|=(?!=))
    | (?P<operator>==|>=|<=|[-+*/<>])
    | (?P<bracket>[(){},])
    )""",
    re.VERBOSE,
)


class NotUnderstood(ValueError):
    """The query has something that this does not know."""


@dataclass(frozen=True)
class Asked:
    """One metric that a query selects: its name, and by label what its values must match (None: any)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator, value."""
    grouped_by: frozenset[str]
    """Labels that an aggregation around it keeps."""


def asked(query: str) -> list[Asked]:
    """Every selector of a query. Raises NotUnderstood."""
    reader = _Reader(_tokens(query))
    reader.expression(frozenset())
    reader.end()
    return reader.found


def _tokens(query: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    text = query.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise NotUnderstood(f"at {at} of {query!r}")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return tokens


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = [*tokens, ("end", "")]
        self._at = 0
        self.found: list[Asked] = []

    def expression(self, labels: frozenset[str]) -> None:
        self._term(labels)
        while self._tokens[self._at][0] == "operator":
            self._at += 1
            self._term(labels)

    def end(self) -> None:
        if self._tokens[self._at][0] != "end":
            raise NotUnderstood(f"{self._tokens[self._at][1]!r} is left over")

    def _term(self, labels: frozenset[str]) -> None:
        kind, text = self._next()
        if kind == "number":
            return
        if (kind, text) == ("bracket", "("):
            self.expression(labels)
            self._expect(")")
        elif kind != "name":
            raise NotUnderstood(f"{text!r} begins nothing")
        elif text in AGGREGATIONS:
            self._aggregation(labels)
        elif text in FUNCTIONS:
            self._arguments(labels)
        else:
            self._selector(text, labels)

    def _aggregation(self, labels: frozenset[str]) -> None:
        kept = labels
        if self._tokens[self._at][1] in GROUPINGS:
            grouping = self._next()[1]
            if grouping != "by":
                raise NotUnderstood(grouping)
            self._expect("(")
            kept = labels | {self._name()}
            while self._tokens[self._at][1] == ",":
                self._at += 1
                kept |= {self._name()}
            self._expect(")")
        self._arguments(kept)

    def _arguments(self, labels: frozenset[str]) -> None:
        self._expect("(")
        if self._tokens[self._at][1] == ")":
            self._at += 1
            return
        self.expression(labels)
        while self._tokens[self._at][1] == ",":
            self._at += 1
            self.expression(labels)
        self._expect(")")

    def _selector(self, metric: str, labels: frozenset[str]) -> None:
        matchers = []
        if self._tokens[self._at][1] == "{":
            self._at += 1
            while self._tokens[self._at][1] != "}":
                label = self._name()
                kind, operator = self._next()
                if kind != "matcher":
                    raise NotUnderstood(operator)
                kind, value = self._next()
                if kind != "string":
                    raise NotUnderstood(value)
                matchers.append((label, operator, value[1:-1]))
                if self._tokens[self._at][1] == ",":
                    self._at += 1
            self._expect("}")
        if self._tokens[self._at][0] == "duration":
            self._at += 1
        self.found.append(Asked(metric, tuple(matchers), labels))

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "name":
            raise NotUnderstood(f"{text!r} is no name")
        return text

    def _expect(self, bracket: str) -> None:
        kind, text = self._next()
        if (kind, text) != ("bracket", bracket):
            raise NotUnderstood(f"{text!r} where {bracket!r} is expected")
