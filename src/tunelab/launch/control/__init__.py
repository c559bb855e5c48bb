"""A study that is executed by other processes, here or elsewhere: how it stands, and how it is ended."""
