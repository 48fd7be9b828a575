"""SQNR, agreement, judging on held-out images, latency, the cost of a layer: what is measured of models."""
