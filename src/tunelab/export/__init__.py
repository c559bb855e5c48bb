"""Taking a model out of its study, compared with what was trained."""
