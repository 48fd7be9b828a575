"""The ExecuTorch target: .pte files for the XNNPACK delegate, made of the Q/DQ form of an int8 module."""
