"""`python -m gridcast` is the `gridcast` command."""

from gridcast.cli import main

if __name__ == "__main__":
    main()
