from cl_runner.cli import entry

entry()
