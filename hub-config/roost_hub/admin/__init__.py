"""How the hub, its clusters and its profiles do, for who runs them."""
