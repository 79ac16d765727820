"""Where asyncio is watched. A probe patches; what it sees, it hands on as a sighting."""
