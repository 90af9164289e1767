"""The list of models with a verdict for each, and the recommendation."""
