"""Runs on other machines: an engine decides where a job lives, and the node program in it carries the run's guest home.

The host listens on one TLS port, for nodes alone. It never dials a node. In each job the node program runs the Podman
backend as it is, with a Podman of the job's own. Nodes keep nothing between runs: the workspace comes to the host.
"""
