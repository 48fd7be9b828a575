"""What a file written from a Q/DQ form is held against: the numbers and the operations of the int8 module."""
