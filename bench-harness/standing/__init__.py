"""What a broker costs that has much and does little, for scripts/bench-standing."""
