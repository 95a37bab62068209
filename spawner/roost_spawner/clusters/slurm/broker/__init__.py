"""The broker: takes a user's IAM token and a closed set of wishes to Slurm.

It runs on the one host that has Slurm's JWT key, and imports neither JupyterHub nor HTCondor.
"""
