"""Photographs, arrays, labels and generated images, preprocessed for a model."""
