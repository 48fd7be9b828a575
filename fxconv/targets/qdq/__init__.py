"""The Q/DQ form of an int8 module: float operations between quantize and dequantize, of which every target is made."""
