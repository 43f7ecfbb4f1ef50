"""What the command lines share: argument types and progress."""
