"""What the library on the phone has to have for a file: bytecode, operators, the right call."""
