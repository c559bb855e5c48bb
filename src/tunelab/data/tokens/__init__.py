"""Examples -> tokens: what is learned, cut and packed, and the order of training."""
