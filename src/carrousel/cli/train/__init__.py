"""Train a model on a table and save it as a folder."""
