"""Training pictures made from drawn walkers and photographs."""
