"""`tsmodel doctor`: checks whether a target is reachable, fast and healthy."""

from __future__ import annotations

from tsmodel.cli import options as of
from tsmodel.cli.output import print_json

__all__ = ["doctor_"]


def doctor_(target: of.Target = None, as_json: of.Json = False) -> int:
    """Check a target: connection, TLS, clock, and response time. Stores nothing.

    The exit status is 1 if a check fails.

    Example:
      tsmodel doctor 'tstorage://host:2025?tls=1&ca=ca.pem'
    """
    from tsmodel.cli.checks import checks

    findings = []
    for finding in checks(target):
        findings.append(finding)
        if not as_json:
            print(f"{finding.result:<5} {finding.check:<12} {finding.detail}", flush=True)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    return int(any(finding.result == "fail" for finding in findings))
