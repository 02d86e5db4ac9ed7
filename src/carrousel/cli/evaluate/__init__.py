"""Score a trained model on a table, beside the naive baselines; RUN is its folder."""

BY_RUN = True
