import sys

from cl_runner.cli import main

sys.exit(main())
