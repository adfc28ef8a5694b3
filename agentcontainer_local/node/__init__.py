"""What runs in a job on a node: `agentcontainer node run JOB HOST:PORT`.

Two processes. The first one (`job.py`) makes the job's own folder and namespaces, and sweeps away what killed jobs have
left. The second one (`program.py`), root in a user namespace, runs the Podman backend and carries the guest home.
"""
