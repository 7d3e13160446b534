"""What a penalty's number means: one canonical unit, and the lines that apply it."""
