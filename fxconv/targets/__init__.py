"""What is written: the interface of a target, and one package for each."""
