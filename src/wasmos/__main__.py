"""`python -m wasmos` is `wasmos`."""

from wasmos.cli import main

raise SystemExit(main())
