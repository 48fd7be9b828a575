"""The proof of a .pte: the file on the disk holds the int8 module's numbers, and computes with them what that does."""
