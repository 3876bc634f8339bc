"""`python -m bloodcell_batch`."""

from bloodcell_batch.cli import main

main()
