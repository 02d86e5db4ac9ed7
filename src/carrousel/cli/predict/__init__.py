"""Use a trained model: RUN is its folder; forecasts, events, text ..., by its task."""

BY_RUN = True
