"""Child processes with limited rights and resources, which decode files from unknown sources."""
