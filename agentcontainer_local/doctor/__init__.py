"""What this machine has, what it lacks, and what its walls hold: told to the operator, and to whoever asks the API."""

from agentcontainer_local.doctor.checks import examine
from agentcontainer_local.doctor.prove import prove
from agentcontainer_local.doctor.report import figures, report, write_proof

__all__ = ["examine", "figures", "prove", "report", "write_proof"]
