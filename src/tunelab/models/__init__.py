"""Loading, quantising, counting and generating with Hugging Face models."""
