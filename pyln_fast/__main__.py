"""`python -m pyln_fast` is `pyln-fast`."""

from pyln_fast.cli.main import main

main()
