"""Networks of forecasters and detectors, and the baselines that they have to beat."""
