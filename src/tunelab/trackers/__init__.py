"""Tools that runs are mirrored into: one file each, the file is the public name."""
