"""A study file -> the runs it stands for. Nothing is trained, no weights are read."""
