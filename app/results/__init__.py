"""What a run found: in Python, in files, and on one page that works offline."""
