"""The tables of the record of a stream. Their names and columns do not change: older records are read."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, taken INTEGER NOT NULL);  -- bytes
CREATE TABLE IF NOT EXISTS digests (name TEXT PRIMARY KEY, taken INTEGER NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stretches (
  id INTEGER PRIMARY KEY, at TEXT NOT NULL, source TEXT NOT NULL, version TEXT NOT NULL, first TEXT, last TEXT,
  notes TEXT, rows INTEGER, scored INTEGER, unscored INTEGER, late INTEGER, repeated INTEGER,
  unreadable INTEGER, missing INTEGER, afterwards INTEGER
);
CREATE TABLE IF NOT EXISTS steps (
  time TEXT PRIMARY KEY, stretch INTEGER NOT NULL REFERENCES stretches, late INTEGER NOT NULL,
  score REAL, threshold REAL, anomaly INTEGER, contributions TEXT, readings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, first TEXT NOT NULL, last TEXT NOT NULL, steps INTEGER NOT NULL, peak REAL NOT NULL,
  severity REAL, blame TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS false_alarms (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS alerts (
  id TEXT NOT NULL, channel TEXT NOT NULL, about TEXT NOT NULL, raised TEXT NOT NULL, sent TEXT,
  PRIMARY KEY (id, channel)
);
CREATE TABLE IF NOT EXISTS problems (
  kind TEXT NOT NULL, subject TEXT NOT NULL, since TEXT NOT NULL, until TEXT, text TEXT NOT NULL,
  PRIMARY KEY (kind, subject, since)
);
"""
