"""Networks of other ecosystems as an architecture and its weights: one file for each, importing it only when called."""
