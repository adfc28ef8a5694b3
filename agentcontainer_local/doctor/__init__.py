"""What this machine has, what it lacks, and what its walls hold: told to the operator, and to whoever asks the API."""

from agentcontainer_local.doctor.checks import examine, no_account
from agentcontainer_local.doctor.report import figures, of, report, write_proof

__all__ = ["examine", "figures", "no_account", "of", "report", "write_proof"]
