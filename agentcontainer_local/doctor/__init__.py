"""Checks of this machine, and tests of the security promises, for operators and the API."""

from agentcontainer_local.doctor.checks import examine, no_account
from agentcontainer_local.doctor.report import figures, of, report, write_proof

__all__ = ["examine", "figures", "no_account", "of", "report", "write_proof"]
