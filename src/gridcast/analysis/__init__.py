"""From MLflow runs to a decision: tables, statistics, pictures, report."""
