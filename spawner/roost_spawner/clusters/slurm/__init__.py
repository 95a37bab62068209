"""Slurm, reached through the broker that a site runs beside slurmrestd."""
