"""``python -m mmtutor`` is the command ``mmtutor``."""

from mmtutor.cli import main

if __name__ == "__main__":
    main()
