"""Word lists that the generators share, so that a model pretrained here knows the words of the tasks."""
