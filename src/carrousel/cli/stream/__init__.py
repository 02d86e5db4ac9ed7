"""Answer rows from stdin one by one with a trained model; RUN is its folder."""

BY_RUN = True
