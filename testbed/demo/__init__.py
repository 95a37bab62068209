"""The main job, flown once: ``make demo``.

Unlike the rest of the testbed this runs in the project's environment: a person at a browser needs
cookies and web sockets.
"""
