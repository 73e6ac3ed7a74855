"""What the documentation site makes from the program, and how its pages are checked."""
