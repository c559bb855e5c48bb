"""Files -> rows: jsonl, json, csv, tsv, parquet, txt."""
