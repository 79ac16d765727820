"""One way to come by the resources each: `safe`, and five that are not."""
