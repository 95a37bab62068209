"""Side-by-side measurements: Roost and its peers on one pool, in one run, interleaved."""
