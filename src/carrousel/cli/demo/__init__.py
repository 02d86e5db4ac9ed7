"""Train on real data and write an HTML report; without a name, the forecasting demo."""

DEFAULT = "forecast"
