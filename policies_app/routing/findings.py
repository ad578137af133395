"""What `verify` tells of a policy."""

from dataclasses import dataclass

from policies_app.routing.codes import FindingCode, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `verify` found. `rule` is None when it concerns the policy as a whole."""

    severity: Severity
    code: FindingCode
    rule: str | None
    message: str


def error(code: FindingCode, rule: str | None, message: str) -> Finding:
    """Something that forbids publishing."""
    return Finding(severity=Severity.ERROR, code=code, rule=rule, message=message)


def warning(code: FindingCode, rule: str | None, message: str) -> Finding:
    """Something that somebody should know before publishing."""
    return Finding(severity=Severity.WARNING, code=code, rule=rule, message=message)
