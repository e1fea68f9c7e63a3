"""``python -m vpbench``."""

from vpbench.cli.main import main

if __name__ == "__main__":
    main()
