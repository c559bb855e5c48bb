"""The named data sets: where each is, its columns, samples and mixtures."""
