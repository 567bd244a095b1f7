"""Runs container images of a site by an engine that is on the machine: docker, podman, apptainer.

The engine's client is a program with a supervisor of its own (`worker.programs.isolation`), which
removes the container when the client has ended in whatever way. What a killed supervisor left is
found by its labels and removed when the next worker starts.
"""
