"""The Jittor back end: GPT-2 and LLaMA-like models in fp32 on the CPU, in an environment of its own without torch."""
