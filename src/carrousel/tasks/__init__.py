"""One file per task: each wires data, features, layers, heads and metrics, and nothing else."""
