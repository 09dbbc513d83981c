"""Numbers, digests and times as people read them: the templates' filters.

Scores are signed, with a real minus and three decimals (thousandths of a nat); a token has 18 decimals.
"""

from datetime import UTC, datetime
from decimal import Decimal

from contracts.phase import Phase

TOKEN = 1_000_000_000_000_000_000
"""Base units in one token."""

PHASE_NAMES = {
    Phase.NONE: "Not requested",
    Phase.REQUESTED: "Draw",
    Phase.TRAINING: "Training",
    Phase.COMMITTING: "Committing",
    Phase.REVEALING: "Revealing",
    Phase.ATTESTING: "Attesting",
    Phase.FINAL: "Final",
    Phase.REJECTED: "Rejected",
    Phase.ABORTED: "Aborted",
}

PHASE_MEANINGS = {
    Phase.NONE: "this round was not requested yet",
    Phase.REQUESTED: "waiting for the block that decides the draw",
    Phase.TRAINING: "the drawn proposers train at their hospitals and sign their adapters",
    Phase.COMMITTING: "the drawn voters score what each adapter adds and bind themselves to the scores",
    Phase.REVEALING: "the voters open their scores",
    Phase.ATTESTING: "the voters recompute the aggregate and attest its digest",
    Phase.FINAL: "the aggregate is the next round's parent",
    Phase.REJECTED: "nothing was accepted, or the aggregate was not better; the parent stays",
    Phase.ABORTED: "a quorum was missed, or the task was paused; the parent stays",
}


def nats(micronats: int | None, digits: int = 3) -> str:
    """Micronats as signed nats: ``+0.114``, ``−2.200``, ``0.000``; "—" for None."""
    if micronats is None:
        return "—"
    text = f"{abs(micronats) / 1_000_000:.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if micronats > 0 else "−") + text


def tokens(amount: int | None) -> str:
    """Base units as tokens, rounded down to two decimals: ``1,250.00``; "—" for None."""
    if amount is None:
        return "—"
    hundredths = amount * 100 // TOKEN
    return f"{Decimal(hundredths).scaleb(-2):,.2f}"


def short(digest: str | None) -> str:
    """A digest or address by its ends: ``0x12ab…9f0e``; "—" for None."""
    if digest is None:
        return "—"
    return digest if len(digest) <= 14 else f"{digest[:6]}…{digest[-4:]}"


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``42 s``, ``1 min 31 s``, ``2 h 05 min``; "—" for None."""
    if seconds is None:
        return "—"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float | None) -> str:
    """A share of one as a percentage with one decimal: ``65.3 %``; "—" for None."""
    return "—" if share is None else f"{share * 100:.1f} %"


def points(share: float | None) -> str:
    """A difference of two shares in signed percentage points: ``+44.0``; "—" for None."""
    if share is None:
        return "—"
    text = f"{abs(share) * 100:.1f}"
    return text if float(text) == 0 else ("+" if share > 0 else "−") + text


def count(number: int | None) -> str:
    """A whole number with its thousands apart: ``176,204``; "—" for None."""
    return "—" if number is None else f"{number:,}"


def iso(unix_s: int) -> str:
    """A time for ``<time datetime>``."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(unix_s: int) -> str:
    """A time of day, in UTC; the page's script turns it to the reader's own zone."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M:%S")


def phase_name(phase: Phase | None) -> str:
    """A phase as the page calls it."""
    return PHASE_NAMES[phase or Phase.NONE]


def phase_meaning(phase: Phase | None) -> str:
    """What happens in a phase, in one sentence without its full stop."""
    return PHASE_MEANINGS[phase or Phase.NONE]


def phase_tone(phase: Phase | None) -> str:
    """The tone of a phase's badge; see ``view.Tone``."""
    if phase is None or phase is Phase.NONE:
        return "calm"
    return {Phase.FINAL: "good", Phase.REJECTED: "warn", Phase.ABORTED: "bad"}.get(phase, "live")


FILTERS = {
    "nats": nats,
    "tokens": tokens,
    "short": short,
    "duration": duration,
    "percent": percent,
    "points": points,
    "count": count,
    "iso": iso,
    "clock": clock,
    "phase_name": phase_name,
    "phase_meaning": phase_meaning,
    "phase_tone": phase_tone,
}
