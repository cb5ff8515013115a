"""MLflow: store, runs, ranking, registry, promotion, model flavor."""
