"""The target .ptl: TorchScript, optimized for mobile, the lite interpreter."""
