"""What the kernel keeps a decoder process from doing: files, network, processes, signals."""
