"""`python -m bloodcell_batch`."""

from bloodcell_batch.cli.app import main

main()
