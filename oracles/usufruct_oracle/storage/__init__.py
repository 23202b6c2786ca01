"""What a node keeps: one database, SQLite or PostgreSQL, and the rows in it."""
