"""Runs on other machines. A scheduler such as Slurm places each run's job on a node, where our node program runs it.

The host listens on a TLS port for nodes, and never connects to a node. In each job the node program uses the Podman
backend with a separate Podman. Nodes store nothing between runs: the workspace is sent to the host.
"""
