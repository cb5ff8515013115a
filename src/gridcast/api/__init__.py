"""The use cases of gridcast as functions: `import gridcast` offers them, and the command line prints their results."""
