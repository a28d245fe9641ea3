"""`report.html`: everything a run found, on one page that works offline."""
