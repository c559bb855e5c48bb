"""Two back ends beside each other: losses step by step, speed, metrics, and what was trained."""
