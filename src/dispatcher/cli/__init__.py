"""The command `dispatcher`."""
