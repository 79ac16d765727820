"""A shop: orders come in over HTTP, are kept in PostgreSQL, paid elsewhere, confirmed by a task."""
