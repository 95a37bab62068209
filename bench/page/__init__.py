"""What the spawn page costs while many look at it: its time, and what the clusters are asked."""
