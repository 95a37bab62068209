"""A real pool in a box: HTCondor, Slurm, an OpenID Connect provider and the hub on one machine.

The command line is ``python -m testbed``.  Standard library only, but for :mod:`testbed.demo`.
"""
