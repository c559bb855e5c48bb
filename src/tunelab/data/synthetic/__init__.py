"""Text made from seeds: four fine-tuning tasks and the pretraining text of the embedded models, without any download.

Every generator is a pure function of its seed and of the row's number; nothing here imports torch.
"""
