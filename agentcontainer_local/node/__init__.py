"""The node program, which runs in a job on a node: `agentcontainer node run JOB HOST:PORT`.

It has two processes. The first one (`job.py`) creates the job's directory and namespaces, and removes what killed jobs
left. The second one (`program.py`) is root in a user namespace, runs the Podman backend and connects the guest to the
host.
"""
