"""What may grow from outside, and what it costs then: memory, descriptors and disk stay bounded."""
