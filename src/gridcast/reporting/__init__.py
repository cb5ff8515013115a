"""From MLflow runs to a report: tables, plots, verdict, pages."""
