"""Several machines on one: namespaces with a network between them, and Slurm. Run by root: ./dev test tests/cluster."""
