"""A slide and an area become a result: tissue, tiles, batches, merging, checkpoint."""
