"""SLURM: the scripts that are submitted, the jobs that were, and what the queue says of them."""
