"""The steps that recover accuracy without training."""
