"""The only loop, optimizers, schedules, resuming. Names no method."""
