"""How fast devices are: this machine's as measured, others' as published."""
