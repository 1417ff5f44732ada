"""What a test looks for in the findings of the doctor."""

from collections.abc import Iterable

from api.doctor.finding import Finding, Level


def only(findings: Iterable[Finding], check: str) -> Finding:
    """The one finding of a check."""
    [finding] = [finding for finding in findings if finding.check == check]
    return finding


def not_ok(findings: Iterable[Finding]) -> list[Finding]:
    """The warnings and the failures. Each says what to mend."""
    found = [finding for finding in findings if finding.level is not Level.OK]
    assert all(finding.mend for finding in found)
    return found
