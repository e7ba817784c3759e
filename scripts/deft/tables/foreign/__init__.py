"""Tables as people have them, read once into the strict table: text of any kind, Excel, Parquet."""
