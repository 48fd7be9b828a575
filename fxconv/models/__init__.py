"""From a name, a file or a checkpoint to a sound nn.Module, its signature, and how it is run."""
