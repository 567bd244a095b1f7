"""Turn what networks answer into probabilities, classes, objects and vectors, and check all of it.

One module for each output. They compute with torch on the device of the network.
"""
