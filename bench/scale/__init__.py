"""What a crowd costs the hub: sessions side by side, against a no-op spawner and batchspawner."""
