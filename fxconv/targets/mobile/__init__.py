"""The target .ptl: TorchScript, optimize_for_mobile, the lite interpreter."""
