"""What stands around a network in its file: normalization, a list of images, peaks."""
