"""The gate that an approval request waits at."""
