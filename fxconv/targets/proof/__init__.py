"""What proves a written file: metadata, golden inputs, processes of its own."""
