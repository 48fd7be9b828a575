"""From a float module to its int8 form: observers, ranges, static and dynamic conversion, refusals of kernels."""
