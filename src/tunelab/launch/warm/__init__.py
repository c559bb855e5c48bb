"""Runs that begin with everything imported: forked, each, from one process that has done nothing else."""
