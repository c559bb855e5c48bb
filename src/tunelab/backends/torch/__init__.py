"""PyTorch with Hugging Face models."""
